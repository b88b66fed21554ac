//! Passes on the CPU backend, and what the f64 reference says of them.

use super::clock::{Time, time};
use super::workloads::{Problem, running_estimates};
use std::hint::black_box;
use wgpu_norm::plan::{Arguments, GradientArguments, Gradients, Statistics};
use wgpu_norm::{Data, Engine, Result, RunningStatistics, Wanted};

/// A pass on host tensors, to be called any number of times.
pub(crate) struct Calls<'a> {
    engine: &'a Engine,
    problem: &'a Problem,
    backward: bool,
    output: Data,
    /// Moved by every forward pass.
    running: Option<RunningStatistics>,
    /// What forward keeps for backward.
    statistics: Statistics,
    gradients: Gradients,
}

/// What one call gives.
pub(crate) struct Results {
    /// The output, or the gradients of input, weight and bias.
    pub(crate) tensors: Vec<Data>,
    /// The running estimates, or the gradients of what only some normalizations learn.
    pub(crate) beside: Vec<Data>,
}

impl<'a> Calls<'a> {
    /// Runs a forward pass, which keeps the statistics where backward needs them.
    pub(crate) fn new(engine: &'a Engine, problem: &'a Problem, backward: bool) -> Result<Self> {
        let gradients = Gradients::zeros(&problem.plan, Wanted::all(&problem.plan));
        let (output, running) = (problem.input.clone(), problem.running.clone());
        let mut calls =
            Self { engine, problem, backward, output, running, statistics: Statistics::default(), gradients };
        calls.forward(backward)?;
        Ok(calls)
    }

    pub(crate) fn call(&mut self) -> Result<()> {
        if self.backward { self.backward() } else { self.forward(false) }
    }

    fn results(mut self) -> Result<Results> {
        if !self.backward {
            let beside = self.running.map(|running| running_estimates(&running)).into_iter().flatten().collect();
            return Ok(Results { tensors: vec![self.output], beside });
        }
        self.backward()?;
        let Gradients { input, weight, bias, extra } = self.gradients;
        let tensors = [input, weight, bias].into_iter().flatten().collect();
        Ok(Results { tensors, beside: extra.into_array().into_iter().flatten().collect() })
    }

    fn forward(&mut self, saves: bool) -> Result<()> {
        let problem = self.problem;
        let mut arguments = Arguments {
            weight: problem.weight.as_ref(),
            bias: problem.bias.as_ref(),
            running: self.running.as_mut(),
            extra: problem.extra.as_ref().map(Option::as_ref),
            statistics: saves.then_some(&mut self.statistics),
            ..Arguments::default()
        };
        let into = black_box(&mut self.output);
        pollster::block_on(self.engine.execute(&problem.plan, Some(&problem.input), &mut arguments, into))
    }

    fn backward(&mut self) -> Result<()> {
        let problem = self.problem;
        let arguments = GradientArguments {
            input: &problem.input,
            grad_output: &problem.grad_output,
            grad_sum: None,
            statistics: &self.statistics,
            weight: problem.weight.as_ref(),
            bias: problem.bias.as_ref(),
            extra: problem.extra.as_ref().map(Option::as_ref),
            labels: None,
            grad_mean: None,
            grad_std: None,
        };
        let into = black_box(&mut self.gradients);
        pollster::block_on(self.engine.execute_backward_into(&problem.plan, &arguments, into))
    }
}

/// What a pass gives.
pub(super) fn results(engine: &Engine, problem: &Problem, backward: bool) -> Result<Results> {
    Calls::new(engine, problem, backward)?.results()
}

/// The time of a pass.
pub(super) fn timed(engine: &Engine, problem: &Problem, backward: bool) -> Result<Time> {
    let mut pass = Calls::new(engine, problem, backward)?;
    time(|calls| (0..calls).try_for_each(|_| pass.call()))
}
