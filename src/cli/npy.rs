//! `.npy` files, through ndarray-npy; the element types are ours, since it knows no f16.

use ndarray::ArrayD;
use ndarray_npy::{ReadDataError, ReadNpyError, ReadNpyExt, ReadableElement};
use py_literal::Value as PyValue;
use std::io::{Read, Write};
use std::ops::Range;
use wgpu_norm::{Data, Dtype, Spec, Tensor};

/// What a file begins with.
const MAGIC: &[u8] = b"\x93NUMPY";

/// The longest header that is read: NumPy writes some hundred bytes.
const LONGEST_HEADER: usize = 1 << 16;

/// A value as it is stored.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Stored<T>(T);

/// A type that `.npy` files hold and we take.
trait Element: bytemuck::Pod {
    /// NumPy's name for it, little-endian.
    const DESCRIPTOR: &'static str;
}

impl Element for f32 {
    const DESCRIPTOR: &'static str = "<f4";
}

impl Element for half::f16 {
    const DESCRIPTOR: &'static str = "<f2";
}

impl<T: Element> ReadableElement for Stored<T> {
    /// Reads what is there before it believes the header's length.
    fn read_to_end_exact_vec<R: Read>(
        mut reader: R,
        descriptor: &PyValue,
        len: usize,
    ) -> Result<Vec<Self>, ReadDataError> {
        if !matches!(descriptor, PyValue::String(name) if name == T::DESCRIPTOR) {
            return Err(ReadDataError::WrongDescriptor(descriptor.clone()));
        }
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        match len.checked_mul(size_of::<T>()) {
            Some(needed) if needed == bytes.len() => {}
            Some(needed) if needed < bytes.len() => return Err(ReadDataError::ExtraBytes(bytes.len() - needed)),
            _ => return Err(ReadDataError::MissingData),
        }
        Ok(bytemuck::pod_collect_to_vec::<u8, T>(&bytes).into_iter().map(Stored).collect())
    }
}

/// The tensor in the bytes of a `.npy` file.
pub(crate) fn read(bytes: &[u8]) -> Result<Tensor, String> {
    check_header(bytes)?;
    match ArrayD::<Stored<f32>>::read_npy(bytes) {
        Ok(array) => tensor(array, Data::F32),
        Err(ReadNpyError::WrongDescriptor(_)) => match ArrayD::<Stored<half::f16>>::read_npy(bytes) {
            Ok(array) => tensor(array, Data::F16),
            Err(ReadNpyError::WrongDescriptor(descriptor)) => Err(refuse(&descriptor)),
            Err(error) => Err(error.to_string()),
        },
        Err(error) => Err(error.to_string()),
    }
}

/// Row-major values, whatever the order of the file.
fn tensor<T: Copy>(array: ArrayD<Stored<T>>, data: fn(Vec<T>) -> Data) -> Result<Tensor, String> {
    let shape = array.shape().to_vec();
    let values = array.iter().map(|value| value.0).collect();
    Tensor::new(shape, data(values)).map_err(|error| error.to_string())
}

fn refuse(descriptor: &PyValue) -> String {
    let name = match descriptor {
        PyValue::String(name) => name.clone(),
        other => other.to_string(),
    };
    let why = if name.contains('O') {
        "pickled objects are never read"
    } else if name.starts_with('>') {
        "big-endian, convert it with numpy's astype"
    } else {
        "convert it with numpy's astype"
    };
    format!("dtype: expected <f4 or <f2, got {name} ({why})")
}

/// Where the header lies. Refuses those that a parser should not be given: longer than the file, or nested to no end.
fn check_header(bytes: &[u8]) -> Result<Range<usize>, String> {
    let (start, length) = match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, low, high, ..] => {
            (10, usize::from(u16::from_le_bytes([*low, *high])))
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _, a, b, c, d, ..] => {
            (12, usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX))
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', major, ..] => {
            return Err(format!("version: expected 1, 2 or 3, got {major}, or the file ends in its header"));
        }
        _ => return Err("expected the magic string of a .npy file".into()),
    };
    let there = bytes.len() - start;
    if length > there || length > LONGEST_HEADER {
        let limit = there.min(LONGEST_HEADER);
        return Err(format!("header length: expected at most {limit} bytes, got {length}"));
    }
    let header = &bytes[start..start + length];
    let brackets = header.iter().filter(|b| b"([{".contains(b)).count();
    if brackets > 16 {
        return Err(format!("header: expected a dictionary with a shape, got {brackets} nested brackets"));
    }
    check_shape(header)?;
    Ok(start..start + length)
}

/// Refuses a shape whose axes overflow although one of them is 0: ndarray-npy would panic.
fn check_shape(header: &[u8]) -> Result<(), String> {
    // What cannot be parsed here, ndarray-npy refuses with its own words.
    let Some(entries) = entries(header) else { return Ok(()) };
    let is_shape = |key: &PyValue| matches!(key, PyValue::String(name) if name == "shape");
    for (_, shape) in entries.iter().filter(|(key, _)| is_shape(key)) {
        let (PyValue::Tuple(axes) | PyValue::List(axes)) = shape else { continue };
        let mut lengths = axes.iter().filter_map(length).filter(|&axis| axis != 0);
        let product = lengths.try_fold(size_of::<f32>(), usize::checked_mul);
        if product.and_then(|bytes| isize::try_from(bytes).ok()).is_none() {
            return Err(format!("shape: expected axes whose product fits {} bits, got {shape}", usize::BITS - 1));
        }
    }
    Ok(())
}

fn entries(header: &[u8]) -> Option<Vec<(PyValue, PyValue)>> {
    match String::from_utf8_lossy(header).trim_end().parse() {
        Ok(PyValue::Dict(entries)) => Some(entries),
        _ => None,
    }
}

fn length(axis: &PyValue) -> Option<usize> {
    match axis {
        PyValue::Integer(length) => usize::try_from(length).ok(),
        _ => None,
    }
}

/// Where the values begin in the bytes of a `.npy` file, and what they are; `None` where they do not lie row by row,
/// or where [`read`] says what is wrong.
pub(super) fn place(bytes: &[u8]) -> Option<(usize, Spec)> {
    let header = check_header(bytes).ok()?;
    let entries = entries(&bytes[header.clone()])?;
    let named = |wanted: &str| {
        let mut values = entries.iter().filter(|(key, _)| matches!(key, PyValue::String(name) if name == wanted));
        values.next().map(|(_, value)| value).filter(|_| values.next().is_none())
    };
    let dtype = match named("descr")? {
        PyValue::String(name) if name == f32::DESCRIPTOR => Dtype::F32,
        PyValue::String(name) if name == half::f16::DESCRIPTOR => Dtype::F16,
        _ => return None,
    };
    let PyValue::Tuple(axes) = named("shape")? else { return None };
    let shape = axes.iter().map(length).collect::<Option<Vec<usize>>>()?;
    let product = shape.iter().try_fold(dtype.size(), |product, &axis| product.checked_mul(axis))?;
    let is_whole = bytes.len() - header.end == product;
    let by_rows = matches!(named("fortran_order")?, PyValue::Boolean(false));
    (entries.len() == 3 && by_rows && is_whole).then(|| (header.end, Spec::new(shape, dtype)))
}

/// What stands before the values of a tensor, as NumPy writes it.
pub(super) fn header(spec: &Spec) -> Result<Vec<u8>, String> {
    let descriptor = match spec.dtype {
        Dtype::F32 => f32::DESCRIPTOR,
        Dtype::F16 => half::f16::DESCRIPTOR,
        other @ Dtype::Bf16 => {
            return Err(format!("a .npy file holds no {other}: write a .safetensors file instead"));
        }
    };
    let shape = PyValue::Tuple(spec.shape.iter().map(|&axis| PyValue::Integer(axis.into())).collect());
    let mut text = format!("{{'descr': '{descriptor}', 'fortran_order': False, 'shape': {shape}, }}");
    // Values begin at a multiple of 64 bytes.
    let before = MAGIC.len() + 2 + 2;
    let end = (before + text.len() + 1).next_multiple_of(64);
    text.extend(std::iter::repeat_n(' ', end - before - text.len() - 1));
    text.push('\n');
    let length =
        u16::try_from(text.len()).map_err(|_| format!("shape: too many axes for a .npy file: {}", spec.shape.len()))?;
    Ok([MAGIC, &[1, 0], &length.to_le_bytes(), text.as_bytes()].concat())
}

/// Writes a tensor; bf16 has no place in `.npy`, and the caller has seen to it.
pub(crate) fn write(tensor: &Tensor, writer: &mut dyn Write) -> Result<(), String> {
    let header = header(&tensor.spec())?;
    writer.write_all(&header).and_then(|()| writer.write_all(tensor.data().bytes())).map_err(|error| error.to_string())
}
