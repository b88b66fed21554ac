//! `.safetensors` files, memory-mapped so that a model's other tensors are not read.

use super::place::Place;
use std::collections::BTreeMap;
use std::path::PathBuf;
use wgpu_norm::checkpoint::Checkpoint;
use wgpu_norm::layer::Entry;
use wgpu_norm::{Dtype, RunningStatistics, Spec, Tensor};

/// An open file.
pub(super) struct TensorFile {
    path: PathBuf,
    file: Checkpoint,
}

impl TensorFile {
    /// Maps a file and checks its header.
    #[cfg(not(target_family = "wasm"))]
    pub(super) fn open(path: &std::path::Path) -> Result<Self, String> {
        let file = Checkpoint::open(path).map_err(|error| error.to_string())?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// A file that was read already; checks its header.
    #[cfg(target_family = "wasm")]
    pub(super) fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, String> {
        let file = Checkpoint::from_bytes(name, bytes).map_err(|error| error.to_string())?;
        Ok(Self { path: name.into(), file })
    }

    /// The `__metadata__` map.
    pub(super) fn metadata(&self) -> &BTreeMap<String, String> {
        self.file.metadata()
    }

    /// The tensors' names, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        self.file.names().map(str::to_owned).collect()
    }

    /// The type of a tensor of floating point values, if it is there.
    pub(super) fn dtype(&self, name: &str) -> Option<Dtype> {
        self.file.dtype(name)
    }

    /// Bytes of a tensor, if it is there.
    pub(super) fn bytes_of(&self, name: &str) -> Result<Option<u64>, String> {
        Ok(self.file.bytes_of(name))
    }

    /// Where a tensor of floating point values lies, if it is there.
    pub(super) fn place(&self, name: &str) -> Result<Option<Place>, String> {
        let found = (self.file.offset_of(name), self.file.shape(name), self.dtype(name));
        let (Some(start), Some(shape), Some(dtype)) = found else { return Ok(None) };
        Place::new(&self.path, start, Spec::new(shape, dtype)).map(Some)
    }

    fn get(&self, name: &str) -> Result<Option<Entry>, String> {
        self.file.get(name).map_err(|error| error.to_string())
    }

    fn other_type(&self, name: &str, expected: &str, got: &str) -> String {
        format!("{}: {name}: expected {expected}, got {got}", self.path.display())
    }

    /// A tensor of floating point values, if it is there.
    pub(super) fn tensor(&self, name: &str) -> Result<Option<Tensor>, String> {
        match self.get(name)? {
            None => Ok(None),
            Some(Entry::Tensor(tensor)) => Ok(Some(tensor)),
            Some(_) => Err(self.other_type(name, "F32, F16 or BF16", "I64")),
        }
    }

    /// A single number that is 0 or more, if it is there.
    pub(super) fn integer(&self, name: &str) -> Result<Option<u64>, String> {
        match self.get(name)? {
            None => Ok(None),
            Some(Entry::Counter(number)) => Ok(Some(number)),
            Some(_) => Err(self.other_type(name, "I64", "floating point values")),
        }
    }

    /// Whole numbers, if they are there.
    pub(super) fn integers(&self, name: &str) -> Result<Option<Vec<i64>>, String> {
        self.file.integers(name).map_err(|error| error.to_string())
    }

    /// Running estimates under a prefix, if they are there; both or neither.
    pub(super) fn running(&self, prefix: &str) -> Result<Option<RunningStatistics>, String> {
        let f32s = |name: &str| -> Result<Option<Vec<f32>>, String> {
            let name = format!("{prefix}{name}");
            let Some(tensor) = self.tensor(&name)? else { return Ok(None) };
            if tensor.shape().len() != 1 {
                return Err(format!("{name}: expected one axis, that of channels, got shape {:?}", tensor.shape()));
            }
            // Estimates kept in a short type widen exactly.
            Ok(Some(tensor.data().to_f32()))
        };
        let (mean, var) = (f32s("running_mean")?, f32s("running_var")?);
        let num_batches_tracked = self.integer(&format!("{prefix}num_batches_tracked"))?;
        let (Some(mean), Some(var)) = (&mean, &var) else {
            return match (mean, var) {
                (None, None) => Ok(None),
                (Some(_), _) => Err(format!("{prefix}running_var: missing in {}", self.path.display())),
                _ => Err(format!("{prefix}running_mean: missing in {}", self.path.display())),
            };
        };
        Ok(Some(RunningStatistics { mean: mean.clone(), var: var.clone(), num_batches_tracked }))
    }
}

/// Maps a file for reading.
#[cfg(not(target_family = "wasm"))]
pub(super) fn map(path: &std::path::Path) -> Result<impl std::ops::Deref<Target = [u8]>, String> {
    wgpu_norm::checkpoint::map(path).map_err(|error| error.to_string())
}
