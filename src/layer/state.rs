//! What a layer remembers. Nothing else knows where it lies.

use super::contents::{Contents, Name};
use super::entry::Entry;
use super::input::Input;
use crate::collective::Turn;
use crate::engine::{Engine, Forward, Gradients, Inputs, Parameters, Upstream};
use crate::error::Result;
use crate::gpu::Held;
use crate::norm::Norm;
use crate::plan::{Extra, RunningStatistics, Statistics, Wanted};
use crate::tensor::{Data, Tensor};
use std::sync::atomic::{AtomicU64, Ordering};

/// Parameters, running estimates and their counter.
#[derive(Debug, Clone)]
pub(super) struct State {
    contents: Contents,
    place: Place,
    /// A number that no other state has but copies with the same parameters.
    revision: u64,
}

/// Where they lie.
#[derive(Debug, Clone)]
enum Place {
    Host(Box<Values>),
    /// In buffers of a GPU's, and in host memory as well.
    Device(Held),
}

#[derive(Debug, Clone, Default)]
struct Values {
    weight: Option<Tensor>,
    bias: Option<Tensor>,
    extra: Extra<Option<Tensor>>,
    running: Option<RunningStatistics>,
}

impl State {
    /// The initial state, where the engine computes.
    pub(super) fn new(contents: &Contents, engine: &Engine) -> Result<Self> {
        let place = Place::of(Values::default(), engine).or_else(|error| {
            engine.instead_after(error)?;
            Ok(Place::Host(Box::default()))
        })?;
        let mut state = Self { contents: contents.clone(), place, revision: next_revision() };
        let names: Vec<Name> = contents.names().collect();
        state.reset(&names, engine)?;
        Ok(state)
    }

    /// Moves everything to another engine; on failure it stays where it is.
    pub(super) fn to(&mut self, engine: &Engine) -> Result<()> {
        self.place = Place::of(self.values()?, engine)?;
        Ok(())
    }

    /// Sets these to their initial values, as far as they are there.
    pub(super) fn reset(&mut self, names: &[Name], engine: &Engine) -> Result<()> {
        let own = self.contents.names().filter(|name| names.contains(name));
        let entries = own.map(|name| Ok((name, self.contents.initial(name)?))).collect::<Result<_>>()?;
        self.set(entries, engine)
    }

    /// A copy of everything.
    fn values(&self) -> Result<Values> {
        let mut values = Values { running: self.place.running(), ..Values::default() };
        for name in Name::PARAMETERS {
            if let Some(slot) = values.slot(name) {
                *slot = self.parameter(name)?;
            }
        }
        Ok(values)
    }

    /// A copy of a value, if it is there.
    pub(super) fn get(&self, name: Name) -> Result<Option<Entry>> {
        let estimate = |values: Vec<f32>| Tensor::from_f32([values.len()], values);
        let tensor = match name {
            Name::RunningMean => self.place.running().map(|r| estimate(r.mean)).transpose()?,
            Name::RunningVar => self.place.running().map(|r| estimate(r.var)).transpose()?,
            Name::NumBatchesTracked => {
                return Ok(self.place.running().and_then(|r| r.num_batches_tracked).map(Entry::Counter));
            }
            parameter => self.parameter(parameter)?,
        };
        Ok(tensor.map(Entry::Tensor))
    }

    /// A copy of a parameter, if it is there.
    fn parameter(&self, name: Name) -> Result<Option<Tensor>> {
        match &self.place {
            Place::Host(values) => Ok(values.parameter(name).cloned()),
            Place::Device(held) => {
                let Some(spec) = self.contents.spec(name) else { return Ok(None) };
                let data = match name {
                    Name::Weight => held.weight(),
                    Name::Bias => held.bias(),
                    name => name.among(held.extra()).flatten(),
                };
                data.map(|data| Tensor::new(spec.shape, data.clone())).transpose()
            }
        }
    }

    /// Replaces values, all of them or none; the caller has checked that kinds, shapes and types are right. Where a device
    /// fails and the CPU steps in for it, everything stays in host memory from then on.
    pub(super) fn set(&mut self, entries: Vec<(Name, Entry)>, engine: &Engine) -> Result<()> {
        let has_parameters = entries.iter().any(|(name, _)| Name::PARAMETERS.contains(name));
        let mut next = self.place.clone();
        if let Err(error) = next.set(&entries) {
            engine.instead_after(error)?;
            next = Place::Host(Box::new(self.values()?));
            next.set(&entries)?;
        }
        self.place = next;
        if has_parameters {
            self.renew();
        }
        Ok(())
    }

    /// Makes forward passes from before outdated, as other parameters would.
    pub(super) fn renew(&mut self) {
        self.revision = next_revision();
    }

    /// A number that changes with the parameters, and that other layers do not have.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// A forward pass, with what backward needs where that is `saved`. Where a device fails and the CPU repeats the
    /// pass, the state stays in host memory.
    pub(super) async fn forward(
        &mut self,
        engine: &Engine,
        norm: &dyn Norm,
        (input, turn): (Input<'_>, Option<&Turn<'_>>),
        saved: bool,
    ) -> Result<Forward> {
        let held = match &mut self.place {
            Place::Host(values) => return values.forward(engine, norm, (input, turn), saved).await,
            Place::Device(held) => held,
        };
        let operands = self.contents.operands(input);
        let mut moving = held.moving();
        let result = engine.forward_held(norm, &operands, inputs(input, turn), moving.held(), saved).await;
        let error = match result {
            Ok(forward) => {
                moving.arrive();
                return Ok(forward);
            }
            Err(error) => error,
        };
        drop(moving);
        let cpu = match turn {
            None => engine.instead_after(error)?,
            Some(_) => return Err(error),
        };
        let mut values = self.values()?;
        let forward = values.forward(&cpu, norm, (input, None), saved).await?;
        self.place = Place::Host(Box::new(values));
        Ok(forward)
    }

    /// The gradients of a forward pass.
    pub(super) async fn backward(
        &self,
        engine: &Engine,
        norm: &dyn Norm,
        (input, turn): (Input<'_>, Option<&Turn<'_>>),
        upstream: Upstream<'_>,
        statistics: &Statistics,
        wanted: Wanted,
    ) -> Result<Gradients> {
        let held = match &self.place {
            Place::Host(values) => {
                return values.backward(engine, norm, (input, turn), upstream, statistics, wanted).await;
            }
            Place::Device(held) => held,
        };
        let (operands, kept) = (self.contents.operands(input), (held, statistics));
        match engine.backward_held(norm, &operands, inputs(input, turn), upstream, kept, wanted).await {
            Err(error) if turn.is_none() => {
                let cpu = engine.instead_after(error)?;
                self.values()?.backward(&cpu, norm, (input, None), upstream, statistics, wanted).await
            }
            result => result,
        }
    }
}

fn inputs<'a>(Input { tensor, residual, labels }: Input<'a>, turn: Option<&'a Turn<'a>>) -> Inputs<'a> {
    Inputs { tensor, residual, labels, turn }
}

/// A number that nobody has yet.
fn next_revision() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn nothing_tracked() -> RunningStatistics {
    RunningStatistics { mean: vec![], var: vec![], num_batches_tracked: None }
}

/// Replaces a parameter that is held on a device.
fn upload(held: &mut Held, name: Name, data: &Data) -> Result<()> {
    let mut extra = Extra::default();
    match name {
        Name::Weight => return held.set_weight(data),
        Name::Bias => return held.set_bias(data),
        name => name.among(extra.as_mut()).into_iter().for_each(|slot| *slot = Some(data)),
    }
    held.set_extra(extra)
}

impl Values {
    async fn forward(
        &mut self,
        engine: &Engine,
        norm: &dyn Norm,
        (input, turn): (Input<'_>, Option<&Turn<'_>>),
        saved: bool,
    ) -> Result<Forward> {
        let Self { weight, bias, extra, running } = self;
        let mut parameters = Parameters {
            weight: weight.as_ref(),
            bias: bias.as_ref(),
            running: running.as_mut(),
            residual: input.residual,
            extra: extra.as_ref().map(Option::as_ref),
            labels: input.labels,
            group: None,
        };
        let mut statistics = Statistics::default();
        let kept = saved.then_some(&mut statistics);
        let (output, sum) = engine.run((norm, turn), input.tensor, &mut parameters, kept).await?;
        Ok(Forward { output, sum, statistics })
    }

    async fn backward(
        &self,
        engine: &Engine,
        norm: &dyn Norm,
        (input, turn): (Input<'_>, Option<&Turn<'_>>),
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
            extra: self.extra.as_ref().map(Option::as_ref),
            labels: input.labels,
            group: None,
        };
        engine.run_backward((norm, turn), input.tensor, upstream, statistics, &parameters, Some(wanted)).await
    }

    fn parameter(&self, name: Name) -> Option<&Tensor> {
        match name {
            Name::Weight => self.weight.as_ref(),
            Name::Bias => self.bias.as_ref(),
            name => name.among(self.extra.as_ref())?.as_ref(),
        }
    }

    /// Where a parameter lies; running estimates are none.
    fn slot(&mut self, name: Name) -> Option<&mut Option<Tensor>> {
        match name {
            Name::Weight => Some(&mut self.weight),
            Name::Bias => Some(&mut self.bias),
            name => name.among(self.extra.as_mut()),
        }
    }
}

impl Place {
    /// Values where the engine computes.
    fn of(values: Values, engine: &Engine) -> Result<Self> {
        let Some(mut held) = engine.device_state() else { return Ok(Self::Host(Box::new(values))) };
        values.weight.iter().try_for_each(|weight| held.set_weight(weight.data()))?;
        values.bias.iter().try_for_each(|bias| held.set_bias(bias.data()))?;
        held.set_extra(values.extra.as_ref().map(|tensor| tensor.as_ref().map(Tensor::data)))?;
        values.running.iter().try_for_each(|running| held.set_running(running))?;
        Ok(Self::Device(held))
    }

    fn running(&self) -> Option<RunningStatistics> {
        match self {
            Self::Host(values) => values.running.clone(),
            Self::Device(held) => held.running().cloned(),
        }
    }

    /// Replaces values; where that fails some may have been replaced.
    fn set(&mut self, entries: &[(Name, Entry)]) -> Result<()> {
        let estimates = entries.iter().any(|(name, _)| Name::RUNNING.contains(name));
        let mut running = estimates.then(|| self.running().unwrap_or_else(nothing_tracked));
        for (name, entry) in entries {
            match (name, entry, &mut running) {
                (Name::RunningMean, Entry::Tensor(tensor), Some(running)) => running.mean = tensor.data().to_f32(),
                (Name::RunningVar, Entry::Tensor(tensor), Some(running)) => running.var = tensor.data().to_f32(),
                (Name::NumBatchesTracked, Entry::Counter(n), Some(running)) => running.num_batches_tracked = Some(*n),
                (name, Entry::Tensor(tensor), _) => self.set_parameter(*name, tensor)?,
                (name, entry @ Entry::Counter(_), _) => debug_assert!(false, "{name:?} is no {entry:?}"),
            }
        }
        running.map_or(Ok(()), |running| self.set_running(running))
    }

    fn set_parameter(&mut self, name: Name, tensor: &Tensor) -> Result<()> {
        match self {
            Self::Host(values) => {
                if let Some(slot) = values.slot(name) {
                    *slot = Some(tensor.clone());
                }
                Ok(())
            }
            Self::Device(held) => upload(held, name, tensor.data()),
        }
    }

    fn set_running(&mut self, running: RunningStatistics) -> Result<()> {
        match self {
            Self::Host(values) => values.running = Some(running),
            Self::Device(held) => held.set_running(&running)?,
        }
        Ok(())
    }
}
