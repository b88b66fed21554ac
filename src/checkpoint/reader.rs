use crate::error::{Error, Result};
use crate::layer::{Entry, IncompatibleKeys, Layer, OrFault, Source, under, whole};
use crate::tensor::{Data, Dtype, Tensor};
#[cfg(not(target_family = "wasm"))]
use memmap2::Mmap;
use safetensors::tensor::{Dtype as Stored, SafeTensors, TensorInfo};
use std::collections::BTreeMap;
use std::fmt::Display;
#[cfg(not(target_family = "wasm"))]
use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// A `.safetensors` file, memory-mapped or in memory: the header is read once, and of the tensors those that are asked
/// for.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    bytes: Bytes,
    /// Where the tensors' bytes begin.
    start: usize,
    tensors: BTreeMap<String, TensorInfo>,
    metadata: BTreeMap<String, String>,
}

/// The bytes of a file.
#[derive(Debug)]
enum Bytes {
    #[cfg(not(target_family = "wasm"))]
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            #[cfg(not(target_family = "wasm"))]
            Self::Mapped(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl Checkpoint {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is no `.safetensors` file.
    #[cfg(not(target_family = "wasm"))]
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::read(path, Bytes::Mapped(map(path)?))
    }

    /// As `open`, of bytes that were read or received already. `name` is what errors call the file.
    ///
    /// ```
    /// use wgpu_norm::checkpoint::Checkpoint;
    ///
    /// let error = Checkpoint::from_bytes("received", vec![0; 4]).unwrap_err();
    /// assert!(error.to_string().starts_with("received: "));
    /// ```
    ///
    /// # Errors
    ///
    /// When they are no `.safetensors` file.
    pub fn from_bytes(name: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Self> {
        Self::read(name.as_ref(), Bytes::Owned(bytes))
    }

    fn read(path: &Path, bytes: Bytes) -> Result<Self> {
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| fault(path, &error))?;
        let tensors = metadata.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
        let notes = metadata.metadata().clone().unwrap_or_default().into_iter().collect();
        let start = size_of::<u64>() + header;
        Ok(Self { path: path.to_owned(), bytes, start, tensors, metadata: notes })
    }

    /// The file's `__metadata__`.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The tensors' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor, if it is there.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|info| info.shape.as_slice())
    }

    /// The type that a tensor is stored in, if it is there and has one that [`get`](Self::get) takes for a tensor.
    #[must_use]
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        match self.tensors.get(name)?.dtype {
            Stored::F32 => Some(Dtype::F32),
            Stored::F16 => Some(Dtype::F16),
            Stored::BF16 => Some(Dtype::Bf16),
            _ => None,
        }
    }

    /// The bytes that a tensor takes, if it is there.
    #[must_use]
    pub fn bytes_of(&self, name: &str) -> Option<u64> {
        self.tensors.get(name).map(|info| (info.data_offsets.1 - info.data_offsets.0) as u64)
    }

    /// Where the bytes of a tensor begin in the file, if it is there.
    #[must_use]
    pub fn offset_of(&self, name: &str) -> Option<u64> {
        self.tensors.get(name).map(|info| (self.start + info.data_offsets.0) as u64)
    }

    /// A tensor of f32, f16 or bf16, or a single I64, if it is there: as it is stored, where [`load`](Self::load) converts
    /// what has another type.
    ///
    /// # Errors
    ///
    /// When it has another type, or is a negative number.
    pub fn get(&self, name: &str) -> Result<Option<Entry>> {
        let Some(info) = self.tensors.get(name) else { return Ok(None) };
        let in_file = |message: String| Error::File {
            path: self.path.display().to_string(),
            message: format!("{name}: {message}"),
        };
        self.entry(info).map(Some).map_err(in_file)
    }

    /// A row of I64, such as labels, if it is there.
    ///
    /// # Errors
    ///
    /// When it has another type, or more than one axis or none.
    pub fn integers(&self, name: &str) -> Result<Option<Vec<i64>>> {
        let Some(info) = self.tensors.get(name) else { return Ok(None) };
        let refused = |message: String| fault(&self.path, &format!("{name}: {message}"));
        if info.dtype != Stored::I64 {
            return Err(refused(format!("expected I64, got {:?}", info.dtype)));
        }
        if info.shape.len() != 1 {
            return Err(refused(format!("expected one axis, got shape {:?}", info.shape)));
        }
        let bytes = self.bytes_in(info).map_err(refused)?;
        Ok(Some(bytemuck::pod_collect_to_vec(bytes)))
    }

    fn bytes_in(&self, info: &TensorInfo) -> OrFault<&[u8]> {
        let (from, to) = info.data_offsets;
        self.bytes.get(self.start + from..self.start + to).ok_or_else(|| "beyond the end of the file".into())
    }

    /// Loads a layer as [`Layer::load_state_dict`] does, reading nothing else of the file.
    ///
    /// ```
    /// use wgpu_norm::checkpoint::{self, Checkpoint};
    /// use wgpu_norm::Engine;
    /// use wgpu_norm::layer::{Layer, RmsNorm};
    ///
    /// let mut norm = Layer::new(&Engine::new()?, RmsNorm::new([4]))?;
    /// let folder = tempfile::tempdir().expect("a folder");
    /// let path = folder.path().join("model.safetensors");
    /// checkpoint::save(&path, &norm.state_dict("model.norm.")?)?;
    /// let error = Checkpoint::open(&path)?.load(&mut norm, "norm.", true).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     r#"Error(s) in loading state_dict for RMSNorm: Missing key(s) in state_dict: "norm.weight"."#
    /// );
    /// # Ok::<(), wgpu_norm::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Layer::load_state_dict`]. The layer is then as it was.
    pub fn load(&self, layer: &mut Layer, prefix: &str, strict: bool) -> Result<IncompatibleKeys> {
        layer.load_from(self, prefix, strict)
    }

    fn entry(&self, info: &TensorInfo) -> OrFault<Entry> {
        match info.dtype {
            Stored::I64 => counter::<8>(self.bytes_in(info)?, info).map(Entry::Counter),
            _ => shaped(info, self.values(info)?).map(Entry::Tensor),
        }
    }

    /// Values of a type that tensors have.
    fn values(&self, info: &TensorInfo) -> OrFault<Data> {
        let bytes = self.bytes_in(info)?;
        match info.dtype {
            Stored::F32 => Ok(Data::F32(bytemuck::pod_collect_to_vec(bytes))),
            Stored::F16 => Ok(Data::F16(bytemuck::pod_collect_to_vec(bytes))),
            Stored::BF16 => Ok(Data::Bf16(bytemuck::pod_collect_to_vec(bytes))),
            other => Err(format!("expected F32, F16 or BF16, got {other:?}")),
        }
    }

    /// The same of a type that no layer holds as it is: what `double`, `int` or `long` makes of a model.
    fn narrowed(&self, info: &TensorInfo) -> OrFault<Data> {
        #[expect(clippy::cast_precision_loss, reason = "as PyTorch copies integers into floating point values")]
        let of_integers = |values: Vec<i64>| Data::F32(values.into_iter().map(|n| n as f32).collect());
        let bytes = self.bytes_in(info)?;
        match info.dtype {
            Stored::F64 => Ok(Data::from_f64(Dtype::F32, &bytemuck::pod_collect_to_vec::<u8, f64>(bytes))),
            Stored::I64 => Ok(of_integers(bytemuck::pod_collect_to_vec(bytes))),
            Stored::I32 => {
                let values: Vec<i32> = bytemuck::pod_collect_to_vec(bytes);
                Ok(of_integers(values.into_iter().map(i64::from).collect()))
            }
            _ => self.values(info),
        }
    }
}

fn shaped(info: &TensorInfo, data: Data) -> OrFault<Tensor> {
    Tensor::new(info.shape.clone(), data).map_err(|error| error.to_string())
}

impl Source for Checkpoint {
    fn keys(&self, prefix: &str) -> Vec<String> {
        under(&self.tensors, prefix)
    }

    fn shape(&self, key: &str) -> Option<Vec<usize>> {
        Self::shape(self, key).map(<[usize]>::to_vec)
    }

    fn tensor(&self, key: &str) -> OrFault<Tensor> {
        let info = self.tensors.get(key).ok_or("missing")?;
        shaped(info, self.narrowed(info)?)
    }

    fn counter(&self, key: &str) -> OrFault<u64> {
        let info = self.tensors.get(key).ok_or("missing")?;
        let bytes = self.bytes_in(info)?;
        match info.dtype {
            Stored::I64 => counter::<8>(bytes, info),
            Stored::I32 => counter::<4>(bytes, info),
            Stored::F64 => whole(bytemuck::pod_collect_to_vec(bytes).first().copied()),
            _ => whole(self.values(info)?.to_f64().first().copied()),
        }
    }
}

/// A single number of `N` bytes.
fn counter<const N: usize>(bytes: &[u8], info: &TensorInfo) -> OrFault<u64> {
    if bytes.len() != N {
        let (stored, shape) = (info.dtype, &info.shape);
        return Err(format!(
            "expected F32, F16 or BF16, or a single number of {stored:?}, got {stored:?} of shape {shape:?}"
        ));
    }
    let sign = if bytes[N - 1] & 0x80 == 0 { 0 } else { 0xff };
    let mut wide = [sign; 8];
    wide[..N].copy_from_slice(bytes);
    let value = i64::from_le_bytes(wide);
    u64::try_from(value).map_err(|_| format!("expected 0 or more, got {value}"))
}

pub(super) fn fault(path: &Path, error: &dyn Display) -> Error {
    Error::File { path: path.display().to_string(), message: error.to_string() }
}

/// Maps a file for reading.
///
/// # Errors
///
/// When it is no file, or cannot be read.
#[cfg(not(target_family = "wasm"))]
pub fn map(path: &Path) -> Result<Mmap> {
    let fault = |error: std::io::Error| fault(path, &error);
    // Before it is opened: opening a pipe waits for whoever writes into it.
    if !std::fs::metadata(path).map_err(fault)?.is_file() {
        return Err(Error::File { path: path.display().to_string(), message: "expected a file".into() });
    }
    let file = File::open(path).map_err(fault)?;
    // SAFETY: the map is read only. A file that another program cuts short meanwhile ends this one with a
    // signal, as for every program that maps files; what was written so far lies under a temporary name.
    unsafe { Mmap::map(&file) }.map_err(fault)
}
