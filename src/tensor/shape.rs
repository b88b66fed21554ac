use super::Dtype;
use crate::error::{Error, Result};

/// A tensor's shape and storage type, without its values.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Spec {
    /// The length of each axis, outermost first; row-major and contiguous.
    pub shape: Vec<usize>,
    /// The storage type.
    pub dtype: Dtype,
}

impl Spec {
    /// A tensor of `dtype` with this shape.
    ///
    /// ```
    /// use wgpu_norm::{Dtype, Spec};
    /// assert_eq!(Spec::new([2, 3], Dtype::F16).shape, [2, 3]);
    /// ```
    #[must_use]
    pub fn new(shape: impl Into<Vec<usize>>, dtype: Dtype) -> Self {
        Self { shape: shape.into(), dtype }
    }
}

/// The number of elements, or an error where it, or its size in bytes, overflows.
pub(crate) fn count(argument: &'static str, shape: &[usize], dtype: Dtype) -> Result<usize> {
    product(shape)
        .filter(|n| n.checked_mul(dtype.size()).is_some_and(|bytes| isize::try_from(bytes).is_ok()))
        .ok_or_else(|| Error::Overflow { argument, shape: shape.to_vec() })
}

/// The product of the axes; 0 wherever an axis is 0, even when the others overflow.
pub(crate) fn product(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis))
}
