//! `.safetensors` files, memory-mapped so that a model's other tensors are not read.

use memmap2::Mmap;
use safetensors::tensor::{Dtype as StoredType, Metadata, SafeTensors, TensorView};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use wgpu_norm::{Data, RunningStatistics, Tensor};

/// An open file.
pub(super) struct TensorFile {
    path: PathBuf,
    bytes: Mmap,
    metadata: BTreeMap<String, String>,
}

impl TensorFile {
    /// Maps a file and checks its header.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let fault = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let bytes = map(path)?;
        SafeTensors::deserialize(&bytes).map_err(|error| fault(&error))?;
        let (_, metadata): (usize, Metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| fault(&error))?;
        let metadata = metadata.metadata().clone().unwrap_or_default().into_iter().collect();
        Ok(Self { path: path.to_owned(), bytes, metadata })
    }

    /// The `__metadata__` map.
    pub(super) fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The tensors' names, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.view().map(|file| file.names().into_iter().map(str::to_owned).collect()).unwrap_or_default();
        names.sort();
        names
    }

    fn view(&self) -> Result<SafeTensors<'_>, String> {
        SafeTensors::deserialize(&self.bytes).map_err(|error| format!("{}: {error}", self.path.display()))
    }

    fn find<'a>(&self, file: &SafeTensors<'a>, name: &str) -> Result<Option<TensorView<'a>>, String> {
        if !file.names().contains(&name) {
            return Ok(None);
        }
        file.tensor(name).map(Some).map_err(|error| format!("{} in {}: {error}", name, self.path.display()))
    }

    /// Bytes of a tensor, if it is there.
    pub(super) fn bytes_of(&self, name: &str) -> Result<Option<u64>, String> {
        Ok(self.find(&self.view()?, name)?.map(|view| view.data().len() as u64))
    }

    /// A tensor of floating point values, if it is there.
    pub(super) fn tensor(&self, name: &str) -> Result<Option<Tensor>, String> {
        let Some(view) = self.find(&self.view()?, name)? else { return Ok(None) };
        let bytes = view.data();
        let data = match view.dtype() {
            StoredType::F32 => Data::F32(bytemuck::pod_collect_to_vec(bytes)),
            StoredType::F16 => Data::F16(bytemuck::pod_collect_to_vec(bytes)),
            StoredType::BF16 => Data::Bf16(bytemuck::pod_collect_to_vec(bytes)),
            other => {
                return Err(format!("{name} in {}: expected F32, F16 or BF16, got {other:?}", self.path.display()));
            }
        };
        Tensor::new(view.shape(), data).map(Some).map_err(|error| format!("{name} in {}: {error}", self.path.display()))
    }

    /// A single I64, if it is there.
    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, String> {
        let Some(view) = self.find(&self.view()?, name)? else { return Ok(None) };
        let value = <[u8; 8]>::try_from(view.data()).ok().filter(|_| view.dtype() == StoredType::I64);
        match value {
            Some(bytes) => Ok(Some(i64::from_le_bytes(bytes))),
            None => Err(format!(
                "{name} in {}: expected one I64, got {:?} of shape {:?}",
                self.path.display(),
                view.dtype(),
                view.shape()
            )),
        }
    }

    /// Running estimates under a prefix, if they are there; both or neither.
    pub(super) fn running(&self, prefix: &str) -> Result<Option<RunningStatistics>, String> {
        let f32s = |name: &str| -> Result<Option<Vec<f32>>, String> {
            let name = format!("{prefix}{name}");
            // Estimates kept in a short type widen exactly.
            self.tensor(&name).map(|tensor| tensor.map(|tensor| tensor.data().to_f32()))
        };
        let (mean, var) = (f32s("running_mean")?, f32s("running_var")?);
        let counter = self.integer(&format!("{prefix}num_batches_tracked"))?;
        let (Some(mean), Some(var)) = (&mean, &var) else {
            return match (mean, var) {
                (None, None) => Ok(None),
                (Some(_), _) => Err(format!("{prefix}running_var: missing in {}", self.path.display())),
                _ => Err(format!("{prefix}running_mean: missing in {}", self.path.display())),
            };
        };
        let num_batches_tracked = counter
            .map(|n| u64::try_from(n).map_err(|_| format!("{prefix}num_batches_tracked: expected 0 or more, got {n}")))
            .transpose()?;
        Ok(Some(RunningStatistics { mean: mean.clone(), var: var.clone(), num_batches_tracked }))
    }
}

/// Maps a file for reading.
pub(super) fn map(path: &Path) -> Result<Mmap, String> {
    let fault = |error: std::io::Error| format!("{}: {error}", path.display());
    // Before it is opened: opening a pipe waits for whoever writes into it.
    if !std::fs::metadata(path).map_err(fault)?.is_file() {
        return Err(format!("{}: expected a file", path.display()));
    }
    let file = File::open(path).map_err(fault)?;
    // SAFETY: the map is read only. A file that another program cuts short meanwhile ends this one with a
    // signal, as for every program that maps files; what was written so far lies under a temporary name.
    unsafe { Mmap::map(&file) }.map_err(fault)
}

/// A view of a tensor for the writer.
pub(super) fn view_of(tensor: &Tensor) -> Result<TensorView<'_>, String> {
    let stored = match tensor.dtype() {
        wgpu_norm::Dtype::F32 => StoredType::F32,
        wgpu_norm::Dtype::F16 => StoredType::F16,
        wgpu_norm::Dtype::Bf16 => StoredType::BF16,
    };
    TensorView::new(stored, tensor.shape().to_vec(), tensor.data().bytes()).map_err(|error| error.to_string())
}

/// A view of a single I64.
pub(super) fn view_of_integer(bytes: &[u8; 8]) -> Result<TensorView<'_>, String> {
    TensorView::new(StoredType::I64, vec![], bytes).map_err(|error| error.to_string())
}
