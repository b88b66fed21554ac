use super::input::InputRule;
use super::state::Contents;
use crate::norm::{self, Fused, Norm};
use crate::plan::Epilogue;

/// A norm with its options checked, ready to become a [`Layer`](super::Layer).
///
/// Made from [`LayerNorm`](super::LayerNorm), [`BatchNorm2d`](super::BatchNorm2d) and the like by `try_from`.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// PyTorch's name of the class.
    pub(super) class: String,
    pub(super) input: InputRule,
    pub(super) contents: Contents,
    pub(super) epilogue: Epilogue,
    pub(super) recipe: Recipe,
}

/// The norm that a layer applies.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Recipe {
    Layer(norm::LayerNorm),
    Rms(norm::RmsNorm),
    Group(norm::GroupNorm),
    Instance(norm::InstanceNorm),
    Batch(norm::BatchNorm),
}

/// What distinguishes one call of a layer from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    /// Whether statistics come from the input, rather than from running estimates.
    pub(super) uses_input: bool,
    /// Whether the input has an axis of samples.
    pub(super) batched: bool,
}

impl Description {
    /// The norm for one call.
    pub(super) fn norm(&self, call: Call) -> Box<dyn Norm> {
        match &self.recipe {
            Recipe::Layer(norm) => self.fused(norm.clone()),
            Recipe::Rms(norm) => self.fused(norm.clone()),
            Recipe::Group(norm) => self.fused(norm.clone()),
            Recipe::Instance(norm) => self.fused(norm.clone().use_input_stats(call.uses_input).batched(call.batched)),
            Recipe::Batch(norm) => self.fused(norm.clone().training(call.uses_input)),
        }
    }

    fn fused(&self, norm: impl Norm + 'static) -> Box<dyn Norm> {
        Box::new(Fused { norm, epilogue: self.epilogue })
    }

    /// What is added to running variances, where there can be any.
    pub(super) fn running_eps(&self) -> Option<f64> {
        match &self.recipe {
            Recipe::Instance(norm) => Some(norm.eps),
            Recipe::Batch(norm) => Some(norm.eps),
            Recipe::Layer(_) | Recipe::Rms(_) | Recipe::Group(_) => None,
        }
    }
}
