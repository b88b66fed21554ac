//! Where a tensor's values lie in a file, row by row: what is too large to be read at once is read from there.

use super::{memory, npy};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use wgpu_norm::{Data, Spec, Tensor};

/// A tensor in a file.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    file: File,
    /// Where its first byte is.
    start: u64,
    spec: Spec,
}

impl Place {
    pub(super) fn new(path: &Path, start: u64, spec: Spec) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { path: path.to_owned(), file, start, spec })
    }

    /// The tensor of a `.npy` file of these bytes; `None` where it does not lie row by row, or is no tensor at all.
    pub(super) fn in_npy(path: &Path, bytes: &[u8]) -> Result<Option<Self>, String> {
        npy::place(bytes).map(|(start, spec)| Self::new(path, start as u64, spec)).transpose()
    }

    pub(super) fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Some of the values.
    pub(super) fn read(&mut self, elements: Range<usize>) -> Result<Data, String> {
        let mut values = Data::zeros(self.spec.dtype, elements.len());
        let at = self.start + elements.start as u64 * self.spec.dtype.size() as u64;
        let result = self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.read_exact(values.bytes_mut()));
        result.map_err(|error| format!("{}: {error}", self.path.display()))?;
        Ok(values)
    }

    /// All values, where they fit the memory that there is.
    pub(super) fn whole(&mut self) -> Result<Tensor, String> {
        let len: usize = self.spec.shape.iter().product();
        memory::check(len as u64 * self.spec.dtype.size() as u64)?;
        let values = self.read(0..len)?;
        Tensor::new(self.spec.shape.clone(), values).map_err(|error| error.to_string())
    }
}
