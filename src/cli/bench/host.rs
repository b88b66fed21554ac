//! Passes on the CPU backend, and what the f64 reference says of them.

use super::clock::{Time, time};
use super::workloads::Problem;
use std::hint::black_box;
use wgpu_norm::plan::{Arguments, GradientArguments, Gradients, Statistics};
use wgpu_norm::{Data, Engine, Result, Wanted};

/// A pass on host tensors, to be called any number of times.
pub(crate) struct Calls<'a> {
    engine: &'a Engine,
    problem: &'a Problem,
    backward: bool,
    output: Data,
    /// What forward keeps for backward.
    statistics: Statistics,
    gradients: Gradients,
}

impl<'a> Calls<'a> {
    /// Runs the forward pass whose statistics backward needs.
    pub(crate) fn new(engine: &'a Engine, problem: &'a Problem, backward: bool) -> Result<Self> {
        let mut statistics = Statistics::default();
        let mut output = problem.input.clone();
        forward(engine, problem, &mut output, backward.then_some(&mut statistics))?;
        let gradients = Gradients::zeros(&problem.plan, Wanted::all(&problem.plan));
        Ok(Self { engine, problem, backward, output, statistics, gradients })
    }

    pub(crate) fn call(&mut self) -> Result<()> {
        if self.backward {
            self.backward()
        } else {
            forward(self.engine, self.problem, black_box(&mut self.output), None)
        }
    }

    /// What the pass gives: the output, or the gradients of input, weight and bias.
    fn results(mut self) -> Result<Vec<Data>> {
        if !self.backward {
            return Ok(vec![self.output]);
        }
        self.backward()?;
        let Gradients { input, weight, bias, .. } = self.gradients;
        Ok([input, weight, bias].into_iter().flatten().collect())
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

fn forward(engine: &Engine, problem: &Problem, output: &mut Data, statistics: Option<&mut Statistics>) -> Result<()> {
    let mut running = problem.running.clone();
    let mut arguments = Arguments {
        weight: problem.weight.as_ref(),
        bias: problem.bias.as_ref(),
        running: running.as_mut(),
        extra: problem.extra.as_ref().map(Option::as_ref),
        statistics,
        ..Arguments::default()
    };
    pollster::block_on(engine.execute(&problem.plan, Some(&problem.input), &mut arguments, output))
}

/// What a pass gives.
pub(super) fn results(engine: &Engine, problem: &Problem, backward: bool) -> Result<Vec<Data>> {
    Calls::new(engine, problem, backward)?.results()
}

/// The time of a pass.
pub(super) fn timed(engine: &Engine, problem: &Problem, backward: bool) -> Result<Time> {
    let mut pass = Calls::new(engine, problem, backward)?;
    time(|calls| (0..calls).try_for_each(|_| pass.call()))
}
