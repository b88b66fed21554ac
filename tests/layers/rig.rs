//! What the tests of layers share: small tensors, comparisons.

use wgpu_norm::layer::{BatchNorm1d, Description, Entry, Layer, StateDict};
use wgpu_norm::{Choice, Engine, Error, Tensor};

#[path = "../engines/mod.rs"]
mod engines;
pub(crate) use engines::engines;

pub(crate) fn reference() -> Engine {
    pollster::block_on(Engine::open(&Choice::Reference)).expect("it needs no device")
}

pub(crate) fn layer(description: impl TryInto<Description, Error = Error>) -> Layer {
    Layer::new(&reference(), description).expect("its options make sense")
}

pub(crate) fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_f32(shape, values.to_vec()).expect("as many values as the shape holds")
}

/// Different values, none of them large.
pub(crate) fn ramp(shape: &[usize]) -> Tensor {
    let len = shape.iter().product::<usize>();
    tensor(shape, &(0..len).map(|i| ((i * 37 + 11) % 23) as f32 / 4.0 - 2.0).collect::<Vec<_>>())
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.data().to_f32()
}

#[track_caller]
pub(crate) fn assert_close(got: &Tensor, want: &[f32], what: &str) {
    let got = values(got);
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= 2e-6 * (1.0 + want.abs()), "{what}: {got} instead of {want}");
    }
}

/// Takes down one batch more.
pub(crate) fn count(state: &mut StateDict) {
    for entry in state.values_mut() {
        if let Entry::Counter(batches) = entry {
            *batches += 1;
        }
    }
}

/// A message that has all the parts.
#[track_caller]
pub(crate) fn assert_says<T: std::fmt::Debug>(result: wgpu_norm::Result<T>, parts: &[&str]) {
    let text = result.expect_err("it is refused").to_string();
    let missing: Vec<_> = parts.iter().filter(|part| !text.contains(**part)).collect();
    assert!(missing.is_empty(), "{text:?} does not say {missing:?}");
}

/// Two batches of mean 1, 3 and unbiased variance 2, 8 in one channel, and of 10 times that in the other.
pub(crate) fn batches() -> [Tensor; 2] {
    [tensor(&[2, 2], &[0.0, 0.0, 2.0, 20.0]), tensor(&[2, 2], &[1.0, 10.0, 5.0, 50.0])]
}

/// A layer that is in its initial state no more.
pub(crate) fn trained() -> Layer {
    let mut norm = layer(BatchNorm1d::new(2));
    norm.set("weight", tensor(&[2], &[1.5, -0.5])).expect("it fits");
    norm.forward(&batches()[0]).expect("a batch");
    norm
}
