//! Parts of a batch.

use std::ops::Range;
use wgpu_norm::{Data, Tensor};

/// Some of a tensor's samples.
pub(crate) fn rows(tensor: &Tensor, rows: Range<usize>) -> Tensor {
    let mut shape = tensor.shape().to_vec();
    let row: usize = shape[1..].iter().product();
    shape[0] = rows.len();
    let values = &tensor.data().to_f64()[rows.start * row..rows.end * row];
    Tensor::new(shape, Data::from_f64(tensor.dtype(), values)).expect("whole rows")
}
