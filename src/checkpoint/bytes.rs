use super::reader::fault;
use crate::error::{Error, Result};
use crate::layer::{Entry, StateDict};
use crate::tensor::Dtype;
use safetensors::tensor::{Dtype as Stored, TensorView};
use std::collections::HashMap;
use std::path::Path;

/// A state dict as a `.safetensors` file has it, for whoever has no files: what [`save`](super::save) writes, and
/// [`Checkpoint::from_bytes`](super::Checkpoint::from_bytes) takes.
///
/// ```
/// use wgpu_norm::checkpoint::{self, Checkpoint};
/// use wgpu_norm::Engine;
/// use wgpu_norm::layer::{Layer, LayerNorm};
///
/// let norm = Layer::new(&Engine::new()?, LayerNorm::new([8]))?;
/// let bytes = checkpoint::to_bytes(&norm.state_dict("norm.")?)?;
/// let read = Checkpoint::from_bytes("norm", bytes)?;
/// assert_eq!(read.shape("norm.weight"), Some(&[8][..]));
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
///
/// # Errors
///
/// When a counter is beyond an I64.
pub fn to_bytes(state: &StateDict) -> Result<Vec<u8>> {
    let failed = |error: &dyn std::fmt::Display| fault(Path::new("state dict"), error);
    let counters = counters(state)?;
    let mut views = Vec::with_capacity(state.len());
    for (name, entry) in state {
        let view = match entry {
            Entry::Tensor(tensor) => {
                let stored = match tensor.dtype() {
                    Dtype::F32 => Stored::F32,
                    Dtype::F16 => Stored::F16,
                    Dtype::Bf16 => Stored::BF16,
                };
                TensorView::new(stored, tensor.shape().to_vec(), tensor.data().bytes())
            }
            Entry::Counter(_) => TensorView::new(Stored::I64, vec![], &counters[name.as_str()]),
        };
        views.push((name, view.map_err(|error| failed(&format!("{name}: {error}")))?));
    }
    // Readers of Hugging Face's refuse a file that does not say which framework's conventions it follows.
    let notes = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(notes)).map_err(|error| failed(&error))
}

/// The bytes of each counter, which views borrow.
fn counters(state: &StateDict) -> Result<HashMap<&str, [u8; 8]>> {
    let counters = state.iter().filter_map(|(name, entry)| Some((name.as_str(), entry.counter()?)));
    let stored = |(name, counter)| match i64::try_from(counter) {
        Ok(counter) => Ok((name, counter.to_le_bytes())),
        Err(_) => {
            let expected = format!("at most {}, which is all that an I64 holds", i64::MAX);
            Err(Error::Value { argument: "num_batches_tracked", got: format!("{counter} in {name}"), expected })
        }
    };
    counters.map(stored).collect()
}
