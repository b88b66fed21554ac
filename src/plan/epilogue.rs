use crate::error::{Error, Result};

/// What happens between the normalized value and the output, beside weight and bias.
///
/// ```text
/// y = activation(round(x_hat) * (weight + 1) + bias)
/// ```
///
/// where each of the activation, `round` and `+ 1` is there only if it is set below. What some norms have beside, rows of
/// tables picked by labels and a threshold, comes before the activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Epilogue {
    /// What follows the affine map.
    pub activation: Option<Activation>,
    /// Whether `weight` is stored as its distance from 1, as Gemma's layers do.
    pub zero_centred_weight: bool,
    /// Whether the normalized value is rounded to the storage type before the weight, as LLaMA's layers do.
    /// Changes nothing where the storage type is f32.
    pub rounds_normalized: bool,
}

impl Epilogue {
    /// What both do.
    pub(crate) fn with(self, more: Self) -> Result<Self> {
        if self.activation.is_some() && more.activation.is_some() {
            let reason = "the normalization has one already";
            return Err(Error::Unexpected { argument: "activation", reason });
        }
        Ok(Self {
            activation: self.activation.or(more.activation),
            zero_centred_weight: self.zero_centred_weight || more.zero_centred_weight,
            rounds_normalized: self.rounds_normalized || more.rounds_normalized,
        })
    }
}

/// An elementwise function after the affine map, by PyTorch's names and formulas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activation {
    /// `max(y, 0)`; its slope at 0 is 0.
    Relu,
    /// `y / (1 + exp(-y))`.
    Silu,
    /// `y * Φ(y)`, Φ being the normal distribution: PyTorch's `approximate="none"`.
    Gelu,
    /// `y / 2 * (1 + tanh(√(2/π) * (y + 0.044715 y³)))`: PyTorch's `approximate="tanh"`.
    GeluTanh,
}

impl Activation {
    /// Every activation.
    pub const ALL: [Self; 4] = [Self::Relu, Self::Silu, Self::Gelu, Self::GeluTanh];
}
