//! What a layer remembers. Nothing else knows where it lies.

use super::entry::Entry;
use super::input::Input;
use crate::engine::{Engine, Forward, Gradients, Parameters, Upstream};
use crate::error::{Error, Result};
use crate::gpu::Held;
use crate::norm::{Norm, Operands, Running};
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
    contents: Contents,
    place: Place,
    /// How often weight or bias were replaced.
    revision: u64,
}

/// Where they lie.
#[derive(Debug, Clone)]
enum Place {
    Host(Values),
    /// In buffers of a GPU's, where training moves the running estimates without reading them back.
    Device(Held),
}

#[derive(Debug, Clone, Default)]
struct Values {
    weight: Option<Data>,
    bias: Option<Data>,
    running: Option<RunningStatistics>,
}

impl State {
    /// PyTorch's initial state, where the engine computes.
    pub(super) fn new(contents: &Contents, engine: &Engine) -> Result<Self> {
        let place = Place::of(Values::default(), engine)?;
        let mut state = Self { contents: contents.clone(), place, revision: 0 };
        let names: Vec<Name> = contents.names().collect();
        state.reset(&names)?;
        Ok(state)
    }

    /// Moves everything to another engine; on failure it stays where it is.
    pub(super) fn to(&mut self, engine: &Engine) -> Result<()> {
        self.place = Place::of(self.place.values()?, engine)?;
        Ok(())
    }

    /// Sets these to PyTorch's initial values, as far as they are there.
    pub(super) fn reset(&mut self, names: &[Name]) -> Result<()> {
        let own = self.contents.names().filter(|name| names.contains(name));
        let entries = own.map(|name| Ok((name, self.contents.initial(name)?))).collect::<Result<_>>()?;
        self.set(entries)
    }

    /// A copy of a value, if it is there.
    pub(super) fn get(&self, name: Name) -> Result<Option<Entry>> {
        let estimate = |values: Vec<f32>| Tensor::from_f32([values.len()], values);
        let tensor = match name {
            Name::Weight => self.place.weight()?.map(|data| self.shaped(data)).transpose()?,
            Name::Bias => self.place.bias()?.map(|data| self.shaped(data)).transpose()?,
            Name::RunningMean => self.place.running()?.map(|r| estimate(r.mean)).transpose()?,
            Name::RunningVar => self.place.running()?.map(|r| estimate(r.var)).transpose()?,
            Name::NumBatchesTracked => {
                return Ok(self.place.running()?.and_then(|r| r.num_batches_tracked).map(Entry::Counter));
            }
        };
        Ok(tensor.map(Entry::Tensor))
    }

    fn shaped(&self, data: Data) -> Result<Tensor> {
        Tensor::new(self.contents.shape.clone(), data)
    }

    /// Replaces values, all of them or, where the device fails, none; the caller has checked that kinds, shapes and
    /// types are right.
    pub(super) fn set(&mut self, entries: Vec<(Name, Entry)>) -> Result<()> {
        let parameters = entries.iter().filter(|(name, _)| Name::PARAMETERS.contains(name)).count();
        let mut next = self.place.clone();
        let estimates = entries.iter().any(|(name, _)| Name::RUNNING.contains(name));
        let mut running =
            if estimates { self.place.running()?.unwrap_or_else(nothing_tracked) } else { nothing_tracked() };
        for (name, entry) in entries {
            match (name, entry) {
                (Name::Weight, Entry::Tensor(tensor)) => next.set_weight(tensor.into_data())?,
                (Name::Bias, Entry::Tensor(tensor)) => next.set_bias(tensor.into_data())?,
                (Name::RunningMean, Entry::Tensor(tensor)) => running.mean = tensor.data().to_f32(),
                (Name::RunningVar, Entry::Tensor(tensor)) => running.var = tensor.data().to_f32(),
                (Name::NumBatchesTracked, Entry::Counter(n)) => running.num_batches_tracked = Some(n),
                (name, entry) => debug_assert!(false, "{name:?} is no {entry:?}"),
            }
        }
        if estimates {
            next.set_running(running)?;
        }
        self.place = next;
        self.revision = self.revision.wrapping_add(parameters as u64);
        Ok(())
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
        let values = match &mut self.place {
            Place::Host(values) => values,
            Place::Device(held) => {
                let operands = self.contents.operands(input, held.running_len());
                return engine.forward_held(norm, &operands, (input.tensor, input.residual), held, saved).await;
            }
        };
        let [weight, bias] = values.tensors(&self.contents)?;
        let mut parameters = Parameters {
            weight: weight.as_ref(),
            bias: bias.as_ref(),
            running: values.running.as_mut(),
            residual: input.residual,
            ..Parameters::default()
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
        let values = match &self.place {
            Place::Host(values) => values,
            Place::Device(held) => {
                let operands = self.contents.operands(input, held.running_len());
                let kept = (held, statistics);
                return engine.backward_held(norm, &operands, input.tensor, upstream, kept, wanted).await;
            }
        };
        // The engine takes what it may update; a backward pass reads no more of it than its length.
        let mut running = values.running.clone();
        let [weight, bias] = values.tensors(&self.contents)?;
        let parameters = Parameters {
            weight: weight.as_ref(),
            bias: bias.as_ref(),
            running: running.as_mut(),
            residual: input.residual,
            ..Parameters::default()
        };
        engine.backward_async(norm, input.tensor, upstream, statistics, &parameters, wanted).await
    }
}

impl Contents {
    /// The operands of a call; `running` are the channels of the running estimates and whether batches are counted.
    fn operands(&self, input: Input<'_>, running: Option<(usize, bool)>) -> Operands {
        let parameter = || Spec::new(self.shape.clone(), self.dtype);
        Operands {
            input: input.tensor.spec(),
            weight: self.weight.map(|_| parameter()),
            bias: self.bias.then(parameter),
            running: running.map(|(channels, counter)| Running { mean: channels, var: channels, counter }),
            residual: input.residual.map(Tensor::spec),
            extra: Default::default(),
            labels: None,
        }
    }
}

fn nothing_tracked() -> RunningStatistics {
    RunningStatistics { mean: vec![], var: vec![], num_batches_tracked: None }
}

impl Values {
    /// Weight and bias with their shapes.
    fn tensors(&self, contents: &Contents) -> Result<[Option<Tensor>; 2]> {
        let shaped = |data: &Option<Data>| {
            data.as_ref().map(|data| Tensor::new(contents.shape.clone(), data.clone())).transpose()
        };
        Ok([shaped(&self.weight)?, shaped(&self.bias)?])
    }
}

impl Place {
    /// Values where the engine computes.
    fn of(values: Values, engine: &Engine) -> Result<Self> {
        let Some(mut held) = engine.device_state() else { return Ok(Self::Host(values)) };
        values.weight.iter().try_for_each(|data| held.set_weight(data))?;
        values.bias.iter().try_for_each(|data| held.set_bias(data))?;
        values.running.iter().try_for_each(|running| held.set_running(running))?;
        Ok(Self::Device(held))
    }

    fn values(&self) -> Result<Values> {
        Ok(Values { weight: self.weight()?, bias: self.bias()?, running: self.running()? })
    }

    fn weight(&self) -> Result<Option<Data>> {
        match self {
            Self::Host(values) => Ok(values.weight.clone()),
            Self::Device(held) => pollster::block_on(held.weight()),
        }
    }

    fn bias(&self) -> Result<Option<Data>> {
        match self {
            Self::Host(values) => Ok(values.bias.clone()),
            Self::Device(held) => pollster::block_on(held.bias()),
        }
    }

    fn running(&self) -> Result<Option<RunningStatistics>> {
        match self {
            Self::Host(values) => Ok(values.running.clone()),
            Self::Device(held) => pollster::block_on(held.running()),
        }
    }

    fn set_weight(&mut self, data: Data) -> Result<()> {
        match self {
            Self::Host(values) => values.weight = Some(data),
            Self::Device(held) => held.set_weight(&data)?,
        }
        Ok(())
    }

    fn set_bias(&mut self, data: Data) -> Result<()> {
        match self {
            Self::Host(values) => values.bias = Some(data),
            Self::Device(held) => held.set_bias(&data)?,
        }
        Ok(())
    }

    fn set_running(&mut self, running: RunningStatistics) -> Result<()> {
        match self {
            Self::Host(values) => values.running = Some(running),
            Self::Device(held) => held.set_running(&running)?,
        }
        Ok(())
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
