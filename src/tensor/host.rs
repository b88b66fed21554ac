use super::{Dtype, Spec, count};
use crate::error::{Error, Result};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// A tensor's values in host memory.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Data {
    /// Values of [`Dtype::F32`].
    F32(Vec<f32>),
    /// Values of [`Dtype::F16`].
    F16(Vec<f16>),
    /// Values of [`Dtype::Bf16`].
    Bf16(Vec<bf16>),
}

impl Data {
    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F16(v) => v.len(),
            Self::Bf16(v) => v.len(),
        }
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The storage type.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::F16(_) => Dtype::F16,
            Self::Bf16(_) => Dtype::Bf16,
        }
    }

    /// `len` zeros of `dtype`.
    #[must_use]
    pub fn zeros(dtype: Dtype, len: usize) -> Self {
        match dtype {
            Dtype::F32 => Self::F32(vec![0.0; len]),
            Dtype::F16 => Self::F16(vec![f16::ZERO; len]),
            Dtype::Bf16 => Self::Bf16(vec![bf16::ZERO; len]),
        }
    }

    /// The values as they lie in memory.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::F32(v) => bytemuck::cast_slice(v),
            Self::F16(v) => bytemuck::cast_slice(v),
            Self::Bf16(v) => bytemuck::cast_slice(v),
        }
    }

    /// The values as they lie in memory, to be overwritten.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::F32(v) => bytemuck::cast_slice_mut(v),
            Self::F16(v) => bytemuck::cast_slice_mut(v),
            Self::Bf16(v) => bytemuck::cast_slice_mut(v),
        }
    }

    /// The values widened to f32, which is exact.
    #[must_use]
    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            Self::F32(v) => v.clone(),
            Self::F16(v) => v.as_slice().to_f32_vec(),
            Self::Bf16(v) => v.as_slice().to_f32_vec(),
        }
    }

    /// The values widened to f64, which is exact.
    #[must_use]
    pub fn to_f64(&self) -> Vec<f64> {
        match self {
            Self::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Self::F16(v) => v.iter().map(|x| x.to_f64()).collect(),
            Self::Bf16(v) => v.iter().map(|x| x.to_f64()).collect(),
        }
    }

    /// `values` rounded to the nearest value of `dtype`, ties to even.
    #[must_use]
    pub fn from_f64(dtype: Dtype, values: &[f64]) -> Self {
        match dtype {
            #[expect(clippy::cast_possible_truncation, reason = "rounding to the storage type is the purpose")]
            Dtype::F32 => Self::F32(values.iter().map(|&x| x as f32).collect()),
            Dtype::F16 => Self::F16(values.iter().map(|&x| f16::from_f32(to_odd(x))).collect()),
            Dtype::Bf16 => Self::Bf16(values.iter().map(|&x| bf16::from_f32(to_odd(x))).collect()),
        }
    }
}

/// The f32 next to `x` with an odd last bit, or `x` itself where it is one. Rounding that to a shorter type is
/// rounding `x` itself: two roundings to the nearest would not be, nor does half look at all bits of an f64.
#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the purpose")]
fn to_odd(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near) == x || !near.is_finite() {
        return near;
    }
    let beyond = f64::from(near).abs() > x.abs();
    f32::from_bits((near.to_bits() - u32::from(beyond)) | 1)
}

/// A row-major, contiguous tensor in host memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

impl Tensor {
    /// A tensor of this shape with these values.
    ///
    /// # Errors
    ///
    /// When the shape does not hold as many values as `data` has.
    ///
    /// ```
    /// use wgpu_norm::{Data, Tensor};
    /// let tensor = Tensor::new([2, 3], Data::F32(vec![0.0; 6]))?;
    /// assert_eq!(tensor.shape(), [2, 3]);
    /// assert!(Tensor::new([2, 3], Data::F32(vec![0.0; 5])).is_err());
    /// # Ok::<(), wgpu_norm::Error>(())
    /// ```
    pub fn new(shape: impl Into<Vec<usize>>, data: Data) -> Result<Self> {
        let shape = shape.into();
        let expected = count("tensor", &shape, data.dtype())?;
        if expected != data.len() {
            return Err(Error::Length { argument: "tensor", shape, expected, got: data.len() });
        }
        Ok(Self { shape, data })
    }

    /// A tensor of f32 values.
    ///
    /// # Errors
    ///
    /// When the shape does not hold as many values as there are.
    pub fn from_f32(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Result<Self> {
        Self::new(shape, Data::F32(values))
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    ///
    /// When the number of elements overflows, or there is no memory for them.
    pub fn zeros(shape: impl Into<Vec<usize>>, dtype: Dtype) -> Result<Self> {
        let shape = shape.into();
        let len = count("tensor", &shape, dtype)?;
        // What allocates zeros ends the program where it cannot.
        Vec::<u8>::new().try_reserve_exact(len * dtype.size()).map_err(|error| Error::Value {
            argument: "shape",
            got: format!("{shape:?}"),
            expected: format!("as many values as memory can hold ({error})"),
        })?;
        Ok(Self { shape, data: Data::zeros(dtype, len) })
    }

    /// The length of each axis, outermost first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The storage type.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.data.dtype()
    }

    /// The values.
    #[must_use]
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The values as they lie in memory, to be overwritten.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.data.bytes_mut()
    }

    /// The values, for whoever keeps their number and type.
    pub(crate) fn data_mut(&mut self) -> &mut Data {
        &mut self.data
    }

    /// The values, without the shape.
    #[must_use]
    pub fn into_data(self) -> Data {
        self.data
    }

    /// Shape and storage type.
    #[must_use]
    pub fn spec(&self) -> Spec {
        Spec::new(self.shape.clone(), self.dtype())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Just above and just below half-way between two values, by less than an f32 could tell.
    #[test]
    fn short_types_are_rounded_once() {
        let little = 2f64.powi(-40);
        for (dtype, unit) in [(Dtype::Bf16, 2f64.powi(-7)), (Dtype::F16, 2f64.powi(-10))] {
            for sign in [1.0, -1.0] {
                let half = 1.0 + unit / 2.0;
                let rounded = |x: f64| Data::from_f64(dtype, &[sign * x]).to_f64()[0] * sign;
                assert_eq!(rounded(half + little), 1.0 + unit, "{dtype} above");
                assert_eq!(rounded(half - little), 1.0, "{dtype} below");
                assert_eq!(rounded(half), 1.0, "{dtype} half-way, to even");
                assert_eq!(rounded(half + unit), 1.0 + 2.0 * unit, "{dtype} half-way, to even upwards");
            }
        }
    }

    #[test]
    fn what_is_not_finite_or_too_large_stays_so() {
        let values = [f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, 0.0, -0.0];
        for dtype in Dtype::ALL {
            let got = Data::from_f64(dtype, &values).to_f64();
            let inf = f64::INFINITY;
            assert_eq!(got, [inf, -inf, inf, -inf, 0.0, 0.0], "{dtype}");
            assert!(got[5].is_sign_negative() && Data::from_f64(dtype, &[f64::NAN]).to_f64()[0].is_nan(), "{dtype}");
        }
    }
}
