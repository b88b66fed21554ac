use super::reader::fault;
use crate::error::Result;
use crate::layer::{Entry, StateDict};
use crate::tensor::Dtype;
use safetensors::tensor::{Dtype as Stored, TensorView};
use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Writes a state dict, one layer's or a whole model's, as PyTorch users load it: tensors in their storage type,
/// `num_batches_tracked` as a single I64.
///
/// The file is written under a temporary name beside `path` and renamed, so that it is never half there.
///
/// ```
/// use wgpu_norm::checkpoint;
/// use wgpu_norm::Engine;
/// use wgpu_norm::layer::{Layer, LayerNorm};
///
/// let norm = Layer::new(&Engine::new()?, LayerNorm::new([8]))?;
/// let folder = tempfile::tempdir().expect("a folder");
/// checkpoint::save(folder.path().join("norm.safetensors"), &norm.state_dict("")?)?;
/// assert!(checkpoint::save(folder.path().join("nowhere/norm.safetensors"), &norm.state_dict("")?).is_err());
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
///
/// # Errors
///
/// When the file cannot be written, or a counter is beyond an I64; what was at `path` is then still there.
pub fn save(path: impl AsRef<Path>, state: &StateDict) -> Result<()> {
    let path = path.as_ref();
    let bytes = serialize(path, state)?;
    replace(path, |file| file.write_all(&bytes).map_err(|error| error.to_string()))
}

/// Writes a file under a temporary name beside `path` and renames it, so that it is never half there.
///
/// # Errors
///
/// When it cannot be written; what was at `path` is then still there.
pub fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> std::result::Result<(), String>) -> Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    readable_by_others(builder.prefix(".wgpu-norm-"));
    let mut file = builder.tempfile_in(folder).map_err(|error| fault(path, &error))?;
    let mut writer = BufWriter::new(file.as_file_mut());
    write(&mut writer).map_err(|message| fault(path, &message))?;
    writer.flush().map_err(|error| fault(path, &error))?;
    drop(writer);
    // A rename that outlives the bytes would leave an empty file after a power cut.
    file.as_file().sync_all().map_err(|error| fault(path, &error))?;
    file.persist(path).map_err(|error| fault(path, &error.error))?;
    Ok(())
}

fn serialize(path: &Path, state: &StateDict) -> Result<Vec<u8>> {
    let counters = counters(path, state)?;
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
        views.push((name, view.map_err(|error| fault(path, &format!("{name}: {error}")))?));
    }
    // Readers of Hugging Face's refuse a file that does not say which framework's conventions it follows.
    let notes = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(notes)).map_err(|error| fault(path, &error))
}

/// The bytes of each counter, which views borrow.
fn counters<'a>(path: &Path, state: &'a StateDict) -> Result<HashMap<&'a str, [u8; 8]>> {
    let counters = state.iter().filter_map(|(name, entry)| Some((name.as_str(), entry.counter()?)));
    let stored = |(name, counter): (&'a str, u64)| match i64::try_from(counter) {
        Ok(counter) => Ok((name, counter.to_le_bytes())),
        Err(_) => Err(fault(path, &format!("{name}: expected at most {}, got {counter}", i64::MAX))),
    };
    counters.map(stored).collect()
}

/// Temporary files are private; a checkpoint is as readable as the user's mask lets any other file be.
fn readable_by_others(builder: &mut tempfile::Builder<'_, '_>) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    #[cfg(not(unix))]
    let _ = builder;
}
