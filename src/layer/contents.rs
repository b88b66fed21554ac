//! What a layer remembers, without the values: names, shapes, storage types and what everything begins with.

use super::entry::Entry;
use super::input::Input;
use crate::error::{Error, Result};
use crate::norm::{Operands, Running};
use crate::plan::Extra;
use crate::tensor::{Data, Dtype, Spec, Tensor, count};
use half::{bf16, f16};

/// The names of what a layer remembers, PyTorch's where it has one, in the order of a state dict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Weight,
    Bias,
    ClassWeight,
    ClassBias,
    Tau,
    EpsL,
    MeanWeight,
    VarWeight,
    RunningMean,
    RunningVar,
    NumBatchesTracked,
}

impl Name {
    pub(super) const PARAMETERS: [Self; 8] = [
        Self::Weight,
        Self::Bias,
        Self::ClassWeight,
        Self::ClassBias,
        Self::Tau,
        Self::EpsL,
        Self::MeanWeight,
        Self::VarWeight,
    ];
    pub(super) const RUNNING: [Self; 3] = [Self::RunningMean, Self::RunningVar, Self::NumBatchesTracked];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Bias => "bias",
            Self::ClassWeight => "class_weight",
            Self::ClassBias => "class_bias",
            Self::Tau => "tau",
            Self::EpsL => "eps_l",
            Self::MeanWeight => "mean_weight",
            Self::VarWeight => "var_weight",
            Self::RunningMean => "running_mean",
            Self::RunningVar => "running_var",
            Self::NumBatchesTracked => "num_batches_tracked",
        }
    }

    /// What has this name, where it is among what only some normalizations learn.
    pub(super) fn among<T>(self, extra: Extra<T>) -> Option<T> {
        match self {
            Self::ClassWeight => Some(extra.class_weight),
            Self::ClassBias => Some(extra.class_bias),
            Self::Tau => Some(extra.tau),
            Self::EpsL => Some(extra.eps_l),
            Self::MeanWeight => Some(extra.mean_weight),
            Self::VarWeight => Some(extra.var_weight),
            Self::Weight | Self::Bias | Self::RunningMean | Self::RunningVar | Self::NumBatchesTracked => None,
        }
    }
}

/// What a layer remembers, without the values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Contents {
    /// The option that the shape comes from.
    pub(super) argument: &'static str,
    /// The shape of weight and bias.
    pub(super) shape: Vec<usize>,
    /// The storage type of everything that is learned.
    pub(super) dtype: Dtype,
    /// What the weight begins with, if there is one.
    pub(super) weight: Option<f32>,
    /// Whether there is a bias.
    pub(super) bias: bool,
    /// What only some normalizations learn.
    pub(super) extra: Extra<Option<Learned>>,
    /// The running estimates, if there are any.
    pub(super) running: Option<Tracked>,
}

/// A parameter that only some normalizations learn.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Learned {
    /// The option that the shape comes from.
    pub(super) argument: &'static str,
    pub(super) shape: Vec<usize>,
    /// What all its values begin with.
    pub(super) initial: f32,
}

/// Running estimates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tracked {
    /// The option that their number comes from.
    pub(super) argument: &'static str,
    /// How many there are of each kind.
    pub(super) len: usize,
    /// Whether batches are counted.
    pub(super) counter: bool,
}

impl Contents {
    /// Everything that there is, in the order of a state dict.
    pub(super) fn names(&self) -> impl Iterator<Item = Name> + use<> {
        let there = Name::PARAMETERS.into_iter().chain(Name::RUNNING).filter(|name| self.has(*name));
        there.collect::<Vec<_>>().into_iter()
    }

    fn has(&self, name: Name) -> bool {
        match name {
            Name::Weight => self.weight.is_some(),
            Name::Bias => self.bias,
            Name::RunningMean | Name::RunningVar => self.running.is_some(),
            Name::NumBatchesTracked => self.running.is_some_and(|running| running.counter),
            name => self.learned(name).is_some(),
        }
    }

    fn learned(&self, name: Name) -> Option<&Learned> {
        name.among(self.extra.as_ref())?.as_ref()
    }

    /// Shape and storage type of a tensor; the counter is none.
    pub(super) fn spec(&self, name: Name) -> Option<Spec> {
        match name {
            Name::Weight | Name::Bias => Some(self.parameter(&self.shape)),
            Name::RunningMean | Name::RunningVar => self.running.map(|running| Spec::new([running.len], Dtype::F32)),
            Name::NumBatchesTracked => None,
            name => self.learned(name).map(|learned| self.parameter(&learned.shape)),
        }
    }

    fn parameter(&self, shape: &[usize]) -> Spec {
        Spec::new(shape, self.dtype)
    }

    /// What something begins with.
    pub(super) fn initial(&self, name: Name) -> Result<Entry> {
        let value = match name {
            Name::Weight => self.weight.unwrap_or(1.0),
            Name::RunningVar => 1.0,
            Name::Bias | Name::RunningMean | Name::NumBatchesTracked => 0.0,
            name => self.learned(name).map_or(0.0, |learned| learned.initial),
        };
        match self.spec(name) {
            Some(spec) => filled(self.argument_of(name), spec, value).map(Entry::Tensor),
            None => Ok(Entry::Counter(0)),
        }
    }

    /// The option that the shape of something comes from.
    fn argument_of(&self, name: Name) -> &'static str {
        let running = self.running.filter(|_| Name::RUNNING.contains(&name)).map(|running| running.argument);
        running.or(self.learned(name).map(|learned| learned.argument)).unwrap_or(self.argument)
    }

    /// The operands of a call.
    pub(super) fn operands(&self, input: Input<'_>) -> Operands {
        let running = |Tracked { len, counter, .. }| Running { mean: len, var: len, counter };
        Operands {
            input: input.tensor.spec(),
            weight: self.weight.map(|_| self.parameter(&self.shape)),
            bias: self.bias.then(|| self.parameter(&self.shape)),
            running: self.running.map(running),
            residual: input.residual.map(Tensor::spec),
            extra: self.extra.as_ref().map(|one| one.as_ref().map(|learned| self.parameter(&learned.shape))),
            labels: input.labels.map(<[i64]>::len),
        }
    }
}

/// A tensor of one value throughout, or an error where there is no memory for it.
fn filled(argument: &'static str, spec: Spec, value: f32) -> Result<Tensor> {
    let len = count(argument, &spec.shape, spec.dtype)?;
    let data = match spec.dtype {
        Dtype::F32 => repeated(value, len).map(Data::F32),
        Dtype::F16 => repeated(f16::from_f32(value), len).map(Data::F16),
        Dtype::Bf16 => repeated(bf16::from_f32(value), len).map(Data::Bf16),
    };
    let too_long = || Error::Value {
        argument,
        got: format!("{:?}", spec.shape),
        expected: "a number of values that memory can hold".into(),
    };
    Tensor::new(spec.shape.clone(), data.ok_or_else(too_long)?)
}

fn repeated<T: Copy>(value: T, len: usize) -> Option<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).ok()?;
    values.resize(len, value);
    Some(values)
}
