//! Random cases against the f64 reference, each element held to the bound that `Sample::expected` states.

use crate::drawn::{Case, case};
use crate::gradient_sample::GradientSample;
use crate::rig::Rig;
use crate::sample::Sample;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::time::{Duration, Instant};
use wgpu_norm::gpu::Strategy as Way;
use wgpu_norm::{Choice, Engine, Wanted};

/// Units of f32's roundoff in the bound.
pub(crate) const UNITS: f64 = 16.0;
/// Elements that a case has at most.
pub(crate) const ELEMENTS: usize = 2000;
/// Cases on a device that share a norm, a shape, a type and options, each with values of its own: kernels are compiled
/// once for all of them, which takes a software adapter longer than computing them.
const SHARED: usize = 50;
/// Streams of cases that the CPU computes at once. Adapters have the first of them.
const STREAMS: u8 = 2;

/// What came of some cases, all of which were within their bounds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) cases: usize,
    /// Norms, shapes, types and options among them.
    pub(crate) draws: usize,
    /// Those whose gradients were compared too.
    pub(crate) gradients: usize,
    pub(crate) elements: usize,
    /// The worst error of an output and of a gradient, in units of its bound.
    pub(crate) worst: f64,
    pub(crate) worst_gradient: f64,
    pub(crate) seconds: f64,
}

impl Tally {
    fn joined(self, other: Self) -> Self {
        Self {
            cases: self.cases + other.cases,
            draws: self.draws + other.draws,
            gradients: self.gradients + other.gradients,
            elements: self.elements + other.elements,
            worst: self.worst.max(other.worst),
            worst_gradient: self.worst_gradient.max(other.worst_gradient),
            seconds: self.seconds.max(other.seconds),
        }
    }
}

/// What computes.
pub(crate) enum Executor<'a> {
    Cpu(Engine),
    /// Each case by the next strategy of those that serve it.
    Device(&'a Rig),
}

/// The CPU on every core.
pub(crate) fn on_the_cpu(cases: usize) -> Tally {
    std::thread::scope(|scope| {
        let stream = |seed| {
            scope.spawn(move || {
                let cpu = pollster::block_on(Engine::open(&Choice::Cpu)).expect("the CPU is there");
                Executor::Cpu(cpu).run(seed, cases / usize::from(STREAMS), None)
            })
        };
        let threads: Vec<_> = (0..STREAMS).map(stream).collect();
        threads.into_iter().map(|t| t.join().expect("within bounds")).fold(Tally::default(), Tally::joined)
    })
}

impl Executor<'_> {
    /// The first cases of a stream, as many as there is time for.
    pub(crate) fn run(&self, stream: u8, cases: usize, limit: Option<Duration>) -> Tally {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[stream; 32]);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let (drawn, begin) = (case(ELEMENTS), Instant::now());
        let mut tally = Tally::default();
        let shared = if matches!(self, Self::Cpu(_)) { 1 } else { SHARED };
        for turn in 0..cases.div_ceil(shared) {
            let case = drawn.new_tree(&mut runner).expect("nothing is rejected").current();
            for seed in 0..shared.min(cases - tally.cases) {
                if limit.is_some_and(|limit| begin.elapsed() > limit) {
                    return Tally { seconds: begin.elapsed().as_secs_f64(), ..tally };
                }
                let one = self.compare(&case, seed as u64, turn);
                tally = tally.joined(one.unwrap_or_else(|fault| panic!("{fault}: seed {seed} of {case:?}")));
                tally.draws = turn + 1;
            }
        }
        Tally { seconds: begin.elapsed().as_secs_f64(), ..tally }
    }

    fn compare(&self, case: &Case, seed: u64, turn: usize) -> Result<Tally, String> {
        let (sample, options) = (case.seeded(seed), case.options);
        let expected = sample.expected(UNITS);
        let outcome = match self {
            Self::Cpu(cpu) => sample.run_on(cpu, options.in_place),
            Self::Device(rig) => {
                let ways =
                    Way::ALL.into_iter().filter(|w| w.supports(&sample.plan, &rig.capabilities(&options)).is_ok());
                let options = options.strategy(next(ways, turn));
                rig.run(&sample.call(options, case.offset)).map_err(|error| error.to_string())?
            }
        };
        let worst = expected.worst(&outcome.output)?;
        expected.worst_running(outcome.running.as_ref())?;
        expected.check_sum(outcome.sum.as_ref())?;
        let worst_gradient = if case.has_gradients() { Some(self.gradient(&sample, case, turn)?) } else { None };
        Ok(Tally {
            cases: 1,
            draws: 0,
            gradients: usize::from(worst_gradient.is_some()),
            elements: sample.plan.view().elements(),
            worst,
            worst_gradient: worst_gradient.unwrap_or(0.0),
            seconds: 0.0,
        })
    }

    fn gradient(&self, sample: &Sample, case: &Case, turn: usize) -> Result<f64, String> {
        let (sample, options) = (GradientSample::new(sample), case.options);
        let wanted = Wanted::all(&sample.plan);
        let text = |error: wgpu_norm::Error| error.to_string();
        let gradients = match self {
            Self::Cpu(cpu) => pollster::block_on(cpu.execute_backward(&sample.plan, &sample.arguments(), wanted)),
            Self::Device(rig) => {
                let serves =
                    |way: &Way| way.supports_backward(&sample.plan, wanted, &rig.capabilities(&options)).is_ok();
                let options = options.strategy(next(Way::ALL.into_iter().filter(serves), turn));
                rig.run_backward(&sample.call(options, wanted, case.offset))
            }
        };
        sample.expected(UNITS).worst(wanted, &gradients.map_err(text)?)
    }
}

/// One of these after the other from turn to turn; none where none serves, which leaves it to the engine.
fn next(ways: impl Iterator<Item = Way>, turn: usize) -> Option<Way> {
    let ways: Vec<Way> = ways.collect();
    ways.get(turn % ways.len().max(1)).copied()
}
