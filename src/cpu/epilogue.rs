//! What happens beside weight and bias, in f32, block by block.

use super::element::Element;
use super::functions::{normal, sigmoid};
use crate::plan::{Activation, Plan};

/// The plan's epilogue, but for what is folded into the weight.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Epilogue {
    pub(super) activation: Option<Activation>,
    /// Whether normalized values are rounded to the storage type before the weight.
    pub(super) rounds: bool,
}

impl Epilogue {
    pub(super) fn of(plan: &Plan) -> Self {
        Self { activation: plan.epilogue.activation, rounds: plan.rounds_normalized() }
    }

    /// Whether nothing but weight and bias follows the normalization.
    pub(super) fn is_nothing(self) -> bool {
        self.activation.is_none() && !self.rounds
    }

    /// Applies the activation to the affine map's results.
    #[inline(always)]
    pub(super) fn activate(self, values: &mut [f32]) {
        match self.activation {
            None => {}
            Some(Activation::Relu) => each(values, |y| if y < 0.0 { 0.0 } else { y }),
            Some(Activation::Silu) => each(values, |y| y * sigmoid(y)[0]),
            Some(Activation::Gelu) => each(values, |y| y * normal(y)[0]),
            Some(Activation::GeluTanh) => each(values, |y| y * sigmoid(2.0 * inner(y))[0]),
        }
    }

    /// Replaces the affine map's results by the activation's slope there.
    #[inline(always)]
    pub(super) fn slopes(self, values: &mut [f32]) {
        match self.activation {
            None => values.fill(1.0),
            Some(Activation::Relu) => each(values, |y| if y <= 0.0 { 0.0 } else { 1.0 }),
            Some(Activation::Silu) => each(values, |y| {
                let [s, rest] = sigmoid(y);
                s * (1.0 + y * rest)
            }),
            Some(Activation::Gelu) => each(values, |y| {
                let [share, bell] = normal(y);
                share + y * bell * DENSITY
            }),
            Some(Activation::GeluTanh) => each(values, |y| {
                let [s, rest] = sigmoid(2.0 * inner(y));
                s + 2.0 * y * s * rest * ROOT * (1.0 + 3.0 * CUBE * (y * y).min(1e30))
            }),
        }
    }

    /// Rounds normalized values as the weight meets them.
    #[inline(always)]
    pub(super) fn round<T: Element>(self, values: &mut [f32]) {
        if self.rounds {
            each(values, T::rounded);
        }
    }
}

/// Lets nothing fall below its threshold; a NaN stays one.
#[inline(always)]
pub(super) fn clip(values: &mut [f32], tau: impl Fn(usize) -> f32) {
    for (i, y) in values.iter_mut().enumerate() {
        let tau = tau(i);
        if *y <= tau || tau.is_nan() {
            *y = tau;
        }
    }
}

/// 1 / √(2π), the density of a normal variable at its mean.
const DENSITY: f32 = 0.398_942_3;
/// √(2/π).
const ROOT: f32 = 0.797_884_6;
const CUBE: f32 = 0.044_715;

#[inline(always)]
fn each(values: &mut [f32], f: impl Fn(f32) -> f32) {
    for value in values {
        *value = f(*value);
    }
}

#[inline(always)]
fn inner(y: f32) -> f32 {
    ROOT * y * (1.0 + CUBE * y * y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::activation;

    /// In units of f32's roundoff at 1, or at the slope where that is larger.
    #[test]
    fn slopes_keep_their_digits() {
        for activation in Activation::ALL {
            let epilogue = Epilogue { activation: Some(activation), rounds: false };
            let at: Vec<f32> = (-8000..=8000).map(|i| i as f32 / 1000.0).collect();
            let mut slopes = at.clone();
            epilogue.slopes(&mut slopes);
            for (y, slope) in at.into_iter().zip(slopes) {
                let want = activation::slope(activation, y.into());
                let units = (f64::from(slope) - want).abs() / (f64::from(f32::EPSILON) / 2.0 * want.abs().max(1.0));
                assert!(units < 8.0, "{activation:?} at {y}: {slope} instead of {want}, {units} units off");
            }
        }
    }
}
