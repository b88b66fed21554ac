//! What a layer remembers. Nothing else knows where it lies.

use super::entry::Entry;
use super::input::Input;
use crate::engine::{Engine, Forward, Gradients, Parameters, Upstream};
use crate::error::{Error, Result};
use crate::norm::Norm;
use crate::plan::{RunningStatistics, Statistics, Wanted};
use crate::tensor::{Data, Dtype, Spec, Tensor, count};
use half::{bf16, f16};

/// PyTorch's names for what a layer remembers, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Weight,
    Bias,
    RunningMean,
    RunningVar,
    NumBatchesTracked,
}

impl Name {
    pub(super) const PARAMETERS: [Self; 2] = [Self::Weight, Self::Bias];
    pub(super) const RUNNING: [Self; 3] = [Self::RunningMean, Self::RunningVar, Self::NumBatchesTracked];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Bias => "bias",
            Self::RunningMean => "running_mean",
            Self::RunningVar => "running_var",
            Self::NumBatchesTracked => "num_batches_tracked",
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
    /// The storage type of weight and bias.
    pub(super) dtype: Dtype,
    /// What the weight begins with, if there is one.
    pub(super) weight: Option<f32>,
    /// Whether there is a bias.
    pub(super) bias: bool,
    /// Channels of the running estimates, if there are any.
    pub(super) running: Option<usize>,
}

impl Contents {
    /// Everything that there is, in PyTorch's order.
    pub(super) fn names(&self) -> impl Iterator<Item = Name> + use<> {
        let (weight, bias, running) = (self.weight.is_some(), self.bias, self.running.is_some());
        [(Name::Weight, weight), (Name::Bias, bias)]
            .into_iter()
            .chain(Name::RUNNING.map(|name| (name, running)))
            .filter_map(|(name, is_there)| is_there.then_some(name))
    }

    /// Shape and storage type of a tensor; the counter is none.
    pub(super) fn spec(&self, name: Name) -> Option<Spec> {
        match name {
            Name::Weight | Name::Bias => Some(Spec::new(self.shape.clone(), self.dtype)),
            Name::RunningMean | Name::RunningVar => self.running.map(|channels| Spec::new([channels], Dtype::F32)),
            Name::NumBatchesTracked => None,
        }
    }

    /// PyTorch's initial value.
    fn initial(&self, name: Name) -> Result<Entry> {
        let value = match name {
            Name::Weight => self.weight.unwrap_or(1.0),
            Name::RunningVar => 1.0,
            Name::Bias | Name::RunningMean | Name::NumBatchesTracked => 0.0,
        };
        match self.spec(name) {
            Some(spec) => filled(self.argument, spec, value).map(Entry::Tensor),
            None => Ok(Entry::Counter(0)),
        }
    }
}

/// Parameters, running estimates and their counter.
#[derive(Debug, Clone)]
pub(super) struct State {
    weight: Option<Tensor>,
    bias: Option<Tensor>,
    running: Option<RunningStatistics>,
    /// How often weight or bias were replaced.
    revision: u64,
}

impl State {
    /// PyTorch's initial state.
    pub(super) fn new(contents: &Contents) -> Result<Self> {
        let mut state = Self { weight: None, bias: None, running: None, revision: 0 };
        let names: Vec<Name> = contents.names().collect();
        state.reset(contents, &names)?;
        Ok(state)
    }

    /// Sets these to PyTorch's initial values, as far as they are there.
    pub(super) fn reset(&mut self, contents: &Contents, names: &[Name]) -> Result<()> {
        for name in contents.names().filter(|name| names.contains(name)) {
            self.set(name, contents.initial(name)?);
        }
        Ok(())
    }

    /// A copy of a value, if it is there.
    pub(super) fn get(&self, name: Name) -> Result<Option<Entry>> {
        let estimate = |values: fn(&RunningStatistics) -> &Vec<f32>| {
            let tensor = |r| Tensor::from_f32([values(r).len()], values(r).clone());
            Ok(self.running.as_ref().map(tensor).transpose()?.map(Entry::Tensor))
        };
        match name {
            Name::Weight => Ok(self.weight.clone().map(Entry::Tensor)),
            Name::Bias => Ok(self.bias.clone().map(Entry::Tensor)),
            Name::RunningMean => estimate(|r| &r.mean),
            Name::RunningVar => estimate(|r| &r.var),
            Name::NumBatchesTracked => {
                Ok(self.running.as_ref().and_then(|r| r.num_batches_tracked).map(Entry::Counter))
            }
        }
    }

    /// Replaces a value; the caller has checked that its kind, shape and type are right.
    pub(super) fn set(&mut self, name: Name, entry: Entry) {
        match (name, entry) {
            (Name::Weight, Entry::Tensor(tensor)) => self.weight = Some(tensor),
            (Name::Bias, Entry::Tensor(tensor)) => self.bias = Some(tensor),
            (Name::RunningMean, Entry::Tensor(tensor)) => self.estimates().mean = tensor.data().to_f32(),
            (Name::RunningVar, Entry::Tensor(tensor)) => self.estimates().var = tensor.data().to_f32(),
            (Name::NumBatchesTracked, Entry::Counter(n)) => self.estimates().num_batches_tracked = Some(n),
            (name, entry) => debug_assert!(false, "{name:?} is no {entry:?}"),
        }
        if Name::PARAMETERS.contains(&name) {
            self.revision = self.revision.wrapping_add(1);
        }
    }

    fn estimates(&mut self) -> &mut RunningStatistics {
        self.running.get_or_insert_with(|| RunningStatistics { mean: vec![], var: vec![], num_batches_tracked: None })
    }

    /// A number that changes with weight and bias.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// A forward pass, with what backward needs where that is `saved`.
    pub(super) async fn forward(
        &mut self,
        engine: &Engine,
        norm: &dyn Norm,
        input: Input<'_>,
        saved: bool,
    ) -> Result<Forward> {
        let mut parameters = Parameters {
            weight: self.weight.as_ref(),
            bias: self.bias.as_ref(),
            running: self.running.as_mut(),
            residual: input.residual,
        };
        if saved {
            return engine.forward_saving_async(norm, input.tensor, &mut parameters).await;
        }
        let output = engine.forward_async(norm, input.tensor, &mut parameters).await?;
        Ok(Forward { output, sum: None, statistics: Statistics::default() })
    }

    /// The gradients of a forward pass.
    pub(super) async fn backward(
        &self,
        engine: &Engine,
        norm: &dyn Norm,
        input: Input<'_>,
        upstream: Upstream<'_>,
        statistics: &Statistics,
        wanted: Wanted,
    ) -> Result<Gradients> {
        // The engine takes what it may update; a backward pass reads no more of it than its length.
        let mut running = self.running.clone();
        let parameters = Parameters {
            weight: self.weight.as_ref(),
            bias: self.bias.as_ref(),
            running: running.as_mut(),
            residual: input.residual,
        };
        engine.backward_async(norm, input.tensor, upstream, statistics, &parameters, wanted).await
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
