use crate::plan::Activation;
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// The factor of the cube in GELU by the hyperbolic tangent.
const CUBE: f64 = 0.044715;

/// What an activation makes of `y`.
pub(super) fn value(activation: Activation, y: f64) -> f64 {
    match activation {
        // Not `max`, which drops a NaN.
        Activation::Relu => {
            if y < 0.0 {
                0.0
            } else {
                y
            }
        }
        Activation::Silu => y * sigmoid(y),
        Activation::Gelu => y * normal(y),
        Activation::GeluTanh => y * sigmoid(2.0 * inner(y)),
    }
}

/// Its derivative there.
pub(crate) fn slope(activation: Activation, y: f64) -> f64 {
    match activation {
        Activation::Relu => {
            if y <= 0.0 {
                0.0
            } else {
                1.0
            }
        }
        Activation::Silu => sigmoid(y) * (1.0 + y * sigmoid(-y)),
        Activation::Gelu => normal(y) + y * (-y * y / 2.0).exp() / (2.0 * PI).sqrt(),
        Activation::GeluTanh => {
            let (s, inner_slope) = (sigmoid(2.0 * inner(y)), (2.0 / PI).sqrt() * (1.0 + 3.0 * CUBE * y * y));
            s + 2.0 * y * s * (1.0 - s) * inner_slope
        }
    }
}

fn sigmoid(y: f64) -> f64 {
    1.0 / (1.0 + (-y).exp())
}

/// The distribution of a normal variable.
fn normal(y: f64) -> f64 {
    0.5 * libm::erfc(-y * FRAC_1_SQRT_2)
}

fn inner(y: f64) -> f64 {
    (2.0 / PI).sqrt() * (y + CUBE * y * y * y)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PyTorch's values at -1, 0 and 2, to ten digits.
    #[test]
    fn activations_are_pytorchs() {
        let expected = [
            (Activation::Relu, [0.0, 0.0, 2.0]),
            (Activation::Silu, [-0.268_941_421_4, 0.0, 1.761_594_156]),
            (Activation::Gelu, [-0.158_655_253_9, 0.0, 1.954_499_736]),
            (Activation::GeluTanh, [-0.158_808_009_4, 0.0, 1.954_597_694]),
        ];
        for (activation, values) in expected {
            for (y, want) in [-1.0, 0.0, 2.0].into_iter().zip(values) {
                let got = value(activation, y);
                assert!((got - want).abs() < 1e-9, "{activation:?}({y}) = {got}, expected {want}");
            }
        }
    }

    #[test]
    fn slopes_are_those_of_the_values() {
        for activation in Activation::ALL {
            for y in [-6.0, -1.3, -0.2, 0.4, 1.0, 5.0] {
                let h = 1e-5;
                let measured = (value(activation, y + h) - value(activation, y - h)) / (2.0 * h);
                let got = slope(activation, y);
                assert!((got - measured).abs() < 1e-9, "{activation:?}'({y}) = {got}, measured {measured}");
            }
        }
    }
}
