use super::contents::Contents;
use super::input::InputRule;
use crate::collective::Group;
use crate::norm::{self, Fused, Norm};
use crate::plan::Epilogue;

/// A norm with its options checked: what [`Layer::new`](super::Layer::new) makes of its argument.
///
/// Made from [`LayerNorm`](super::LayerNorm), [`BatchNorm2d`](super::BatchNorm2d) and the like by `try_from`, which finds
/// out without an engine whether the options make sense.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// PyTorch's name of the class, or ours where it has none.
    pub(super) class: String,
    pub(super) input: InputRule,
    pub(super) contents: Contents,
    pub(super) epilogue: Epilogue,
    pub(super) recipe: Recipe,
    /// The ranks that share the statistics, of batch normalization alone.
    pub(super) group: Option<Group>,
}

/// The norm that a layer applies.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Recipe {
    Layer(norm::LayerNorm),
    Rms(norm::RmsNorm),
    Group(norm::GroupNorm),
    Instance(norm::InstanceNorm),
    Batch(norm::BatchNorm),
    BatchGroup(norm::BatchGroupNorm),
    Conditional(norm::BatchNorm),
    Sandwich(norm::BatchNorm),
    Switchable(norm::SwitchableNorm),
    Positional(norm::PositionalNorm),
    FilterResponse(norm::FilterResponseNorm),
}

/// What distinguishes one call of a layer from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    /// Whether statistics come from the input, rather than from running estimates.
    pub(super) uses_input: bool,
    /// Whether the input has an axis of samples.
    pub(super) batched: bool,
    /// Whether statistics are those of all ranks of the group.
    pub(super) synchronized: bool,
}

impl Description {
    /// The norm for one call.
    pub(super) fn norm(&self, call: Call) -> Box<dyn Norm> {
        let in_mode = |norm: &norm::BatchNorm| norm.clone().training(call.uses_input);
        match &self.recipe {
            Recipe::Layer(norm) => self.fused(norm.clone()),
            Recipe::Rms(norm) => self.fused(norm.clone()),
            Recipe::Group(norm) => self.fused(norm.clone()),
            Recipe::Instance(norm) => self.fused(norm.clone().use_input_stats(call.uses_input).batched(call.batched)),
            Recipe::Batch(norm) if call.synchronized => self.fused(norm::SyncBatchNorm { batch: in_mode(norm) }),
            Recipe::Batch(norm) => self.fused(in_mode(norm)),
            Recipe::BatchGroup(norm) => self.fused(norm.clone().batch(in_mode(&norm.batch))),
            Recipe::Conditional(norm) => self.fused(norm::ConditionalBatchNorm::new(in_mode(norm))),
            Recipe::Sandwich(norm) => self.fused(norm::SandwichBatchNorm::new(in_mode(norm))),
            Recipe::Switchable(norm) => self.fused(norm.clone().training(call.uses_input)),
            Recipe::Positional(norm) => self.fused(norm.clone()),
            Recipe::FilterResponse(norm) => self.fused(norm.clone()),
        }
    }

    fn fused(&self, norm: impl Norm + 'static) -> Box<dyn Norm> {
        Box::new(Fused { norm, epilogue: self.epilogue })
    }

    /// What is added to running variances, where evaluation by them is a scale and a shift of each channel; otherwise
    /// why it is not.
    pub(super) fn folded_eps(&self) -> Result<f64, &'static str> {
        match &self.recipe {
            Recipe::Conditional(_) | Recipe::Sandwich(_) => Err("scale and shift depend on the labels"),
            Recipe::BatchGroup(_) => Err("the running estimates are those of groups, not of channels"),
            Recipe::Instance(norm) if self.contents.running.is_some() => Ok(norm.eps),
            Recipe::Batch(norm) if self.contents.running.is_some() => Ok(norm.eps),
            Recipe::Switchable(_) => Err("instance and layer statistics are the input's in evaluation too"),
            _ => Err("without running estimates scale and shift depend on the input"),
        }
    }
}
