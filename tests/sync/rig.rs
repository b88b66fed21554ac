//! What the tests of groups share: ranks as threads, shards, and the whole batch to compare them with.

use std::ops::Range;
use std::time::Duration;
use wgpu_norm::collective::{Group, local_with_timeout};
use wgpu_norm::norm::{Fused, SyncBatchNorm};
use wgpu_norm::plan::Epilogue;
use wgpu_norm::{
    Choice, Data, Dtype, Engine, Error, Gradients, Layout, Parameters, Result, RunningStatistics, Tensor, Upstream,
};

#[path = "../engines/mod.rs"]
mod engines;
pub(crate) use engines::engines;
#[path = "../shards/mod.rs"]
mod shards;
pub(crate) use shards::rows;

/// Uneven, one of a single sample, one of none.
pub(crate) const SHARDS: [usize; 4] = [7, 1, 0, 24];
/// Long enough for any machine, short enough for a test that fails.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn cpu() -> Engine {
    pollster::block_on(Engine::open(&Choice::Cpu)).expect("the CPU is there")
}

/// What each rank of a group gives, each on a thread of its own.
pub(crate) fn on_ranks<T: Send>(world_size: usize, rank: impl Fn(Group) -> T + Sync) -> Vec<T> {
    in_groups(local_with_timeout(world_size, TIMEOUT), rank)
}

pub(crate) fn in_groups<T: Send>(groups: Vec<Group>, rank: impl Fn(Group) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let rank = &rank;
        let threads: Vec<_> = groups.into_iter().map(|group| scope.spawn(move || rank(group))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no rank panics")).collect()
    })
}

/// The samples of each rank.
pub(crate) fn ranges(shards: &[usize]) -> Vec<Range<usize>> {
    let ends = shards.iter().scan(0, |end, len| {
        *end += len;
        Some(*end)
    });
    ends.zip(shards).map(|(end, len)| end - len..end).collect()
}

/// Numbers without a pattern, of this mean and a deviation near 1.
pub(crate) fn noise(shape: &[usize], dtype: Dtype, mean: f64, seed: u64) -> Tensor {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 24)
    };
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| mean + 3.4 * (next() - 0.5)).collect();
    Tensor::new(shape, Data::from_f64(dtype, &values)).expect("as many as the shape holds")
}

/// A training step of the whole batch.
pub(crate) struct Batch {
    pub(crate) norm: Fused<SyncBatchNorm>,
    pub(crate) input: Tensor,
    pub(crate) residual: Option<Tensor>,
    pub(crate) upstream: Tensor,
    pub(crate) weight: Option<Tensor>,
    pub(crate) bias: Option<Tensor>,
    pub(crate) running: Option<RunningStatistics>,
}

/// What comes of a step, of a rank or of all.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) output: Tensor,
    pub(crate) sum: Option<Tensor>,
    pub(crate) gradients: Gradients,
    pub(crate) running: Option<RunningStatistics>,
}

impl Batch {
    /// 32 samples of 5 channels at 6 positions, in f32, with everything that a layer has by default.
    pub(crate) fn new(dtype: Dtype, layout: Layout, mean: f64) -> Self {
        let shape: &[usize] = if layout == Layout::ChannelsFirst { &[32, 5, 6] } else { &[32, 6, 5] };
        Self {
            norm: Fused::new(SyncBatchNorm::new().layout(layout)),
            input: noise(shape, dtype, mean, 1),
            residual: None,
            upstream: noise(shape, dtype, 0.1, 2),
            weight: Some(noise(&[5], dtype, 1.0, 3)),
            bias: Some(noise(&[5], dtype, 0.0, 4)),
            running: Some(RunningStatistics::new(5)),
        }
    }

    /// The same with a residual and an epilogue.
    pub(crate) fn fused(self, epilogue: Epilogue) -> Self {
        let residual = Some(noise(self.input.shape(), self.input.dtype(), 0.5, 5));
        Self { norm: Fused { epilogue, ..self.norm }, residual, ..self }
    }

    /// Some of the samples, on an engine, as a rank of a group if there is one.
    pub(crate) fn step(&self, engine: &Engine, samples: Range<usize>, group: Option<&Group>) -> Result<Step> {
        let (input, upstream) = (rows(&self.input, samples.clone()), rows(&self.upstream, samples.clone()));
        let residual = self.residual.as_ref().map(|residual| rows(residual, samples));
        let mut running = self.running.clone();
        let mut parameters = Parameters {
            weight: self.weight.as_ref(),
            bias: self.bias.as_ref(),
            running: running.as_mut(),
            residual: residual.as_ref(),
            group,
            ..Parameters::default()
        };
        let forward = engine.forward_saving(&self.norm, &input, &mut parameters)?;
        let normalized = forward.sum.as_ref().unwrap_or(&input);
        let inflow = forward.sum.as_ref().map(|_| &upstream);
        let upstream = Upstream { output: &upstream, sum: inflow, mean: None, std: None };
        let gradients = engine.backward(&self.norm, normalized, upstream, &forward.statistics, &parameters, None)?;
        Ok(Step { output: forward.output, sum: forward.sum, gradients, running })
    }

    /// The whole batch at once, by the reference.
    pub(crate) fn expected(&self) -> Step {
        let reference = pollster::block_on(Engine::open(&Choice::Reference)).expect("it needs no device");
        self.step(&reference, 0..self.input.shape()[0], None).expect("a batch")
    }

    /// All ranks' steps together; the gradients of weight and bias are added up.
    pub(crate) fn joined(&self, steps: &[Step]) -> Step {
        let rows = |of: &dyn Fn(&Step) -> Option<Tensor>| {
            let values: Vec<f64> = steps.iter().filter_map(of).flat_map(|part| part.data().to_f64()).collect();
            (!values.is_empty()).then(|| {
                Tensor::new(self.input.shape(), Data::from_f64(self.input.dtype(), &values)).expect("all samples")
            })
        };
        let total = |of: &dyn Fn(&Step) -> Option<Tensor>| {
            let parts: Vec<Tensor> = steps.iter().filter_map(of).collect();
            let first = parts.first()?;
            let sums = (0..first.data().len()).map(|i| parts.iter().map(|part| part.data().to_f64()[i]).sum::<f64>());
            let data = Data::from_f64(first.dtype(), &sums.collect::<Vec<_>>());
            Some(Tensor::new(first.shape(), data).expect("their shape"))
        };
        Step {
            output: rows(&|step| Some(step.output.clone())).expect("there are samples"),
            sum: rows(&|step| step.sum.clone()),
            gradients: Gradients {
                input: rows(&|step| step.gradients.input.clone()),
                weight: total(&|step| step.gradients.weight.clone()),
                bias: total(&|step| step.gradients.bias.clone()),
                extra: Default::default(),
            },
            running: steps[0].running.clone(),
        }
    }
}

/// The largest difference, in roundings of the type to values of this size, of tensors that both steps have or have not.
pub(crate) fn distance(got: &Step, want: &Step) -> f64 {
    let pairs = [
        (Some(&got.output), Some(&want.output)),
        (got.sum.as_ref(), want.sum.as_ref()),
        (got.gradients.input.as_ref(), want.gradients.input.as_ref()),
        (got.gradients.weight.as_ref(), want.gradients.weight.as_ref()),
        (got.gradients.bias.as_ref(), want.gradients.bias.as_ref()),
    ];
    let mut worst = 0f64;
    for (got, want) in pairs {
        assert_eq!(got.is_some(), want.is_some(), "both have it or have it not");
        let (Some(got), Some(want)) = (got, want) else { continue };
        assert_eq!((got.shape(), got.dtype()), (want.shape(), want.dtype()), "shape and type");
        let (got_values, want_values) = (got.data().to_f64(), want.data().to_f64());
        let largest = want_values.iter().fold(1f64, |largest, value| largest.max(value.abs()));
        for (got, want) in got_values.iter().zip(&want_values) {
            assert!(got.is_finite(), "{got} instead of {want}");
            worst = worst.max((got - want).abs() / largest / rounding(want_of(&pairs)));
        }
    }
    if let (Some(got), Some(want)) = (&got.running, &want.running) {
        assert_eq!(got.num_batches_tracked, want.num_batches_tracked, "num_batches_tracked");
        for (got, want) in got.mean.iter().chain(&got.var).zip(want.mean.iter().chain(&want.var)) {
            worst = worst.max(f64::from((got - want).abs() / want.abs().max(1.0)) / f64::from(f32::EPSILON));
        }
    }
    worst
}

fn want_of(pairs: &[(Option<&Tensor>, Option<&Tensor>)]) -> Dtype {
    pairs[0].1.expect("there is an output").dtype()
}

/// The relative error of rounding to a type.
fn rounding(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F32 => f64::from(f32::EPSILON) / 2.0,
        Dtype::F16 => 2f64.powi(-11),
        Dtype::Bf16 => 2f64.powi(-8),
    }
}

/// A message that has all the parts.
#[track_caller]
pub(crate) fn assert_says(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    let missing: Vec<_> = parts.iter().filter(|part| !text.contains(**part)).collect();
    assert!(missing.is_empty(), "{text:?} does not say {missing:?}");
}
