//! Passes on the CPU backend, what the f64 reference says of them, and memcpy to compare them with.

use super::clock::{Time, time};
use super::workloads::Problem;
use std::hint::black_box;
use wgpu_norm::plan::{Arguments, GradientArguments, Statistics};
use wgpu_norm::{Data, Engine, Result, Wanted};

/// A forward pass on host tensors, with what backward needs where that is asked for.
fn run(engine: &Engine, problem: &Problem, output: &mut Data, statistics: Option<&mut Statistics>) -> Result<()> {
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

fn run_backward(engine: &Engine, problem: &Problem, statistics: &Statistics) -> Result<Vec<Data>> {
    let arguments = GradientArguments {
        input: &problem.input,
        grad_output: &problem.grad_output,
        grad_sum: None,
        statistics,
        weight: problem.weight.as_ref(),
        bias: problem.bias.as_ref(),
        extra: problem.extra.as_ref().map(Option::as_ref),
        labels: None,
        grad_mean: None,
        grad_std: None,
    };
    let wanted = Wanted::all(&problem.plan);
    let gradients = pollster::block_on(engine.execute_backward(&problem.plan, &arguments, wanted))?;
    Ok([gradients.input, gradients.weight, gradients.bias].into_iter().flatten().collect())
}

/// What a pass gives: the output, or the gradients of input, weight and bias.
pub(super) fn results(engine: &Engine, problem: &Problem, backward: bool) -> Result<Vec<Data>> {
    let mut output = problem.input.clone();
    let mut statistics = Statistics::default();
    run(engine, problem, &mut output, backward.then_some(&mut statistics))?;
    if backward { run_backward(engine, problem, &statistics) } else { Ok(vec![output]) }
}

/// The time of a pass.
pub(super) fn timed(engine: &Engine, problem: &Problem, backward: bool) -> Result<Time> {
    let mut output = problem.input.clone();
    let mut statistics = Statistics::default();
    run(engine, problem, &mut output, backward.then_some(&mut statistics))?;
    time(|calls| {
        for _ in 0..calls {
            if backward {
                black_box(run_backward(engine, problem, &statistics)?);
            } else {
                run(engine, problem, black_box(&mut output), None)?;
            }
        }
        Ok(())
    })
}

/// The time of copying so many bytes from one place in memory to another, by one thread.
pub(super) fn memcpy(bytes: usize) -> Time {
    let (from, mut to) = (vec![1u8; bytes], vec![0u8; bytes]);
    let copied = time(|calls| {
        for _ in 0..calls {
            black_box(&mut to[..]).copy_from_slice(black_box(&from));
        }
        Ok::<(), std::convert::Infallible>(())
    });
    match copied {
        Ok(time) => time,
        Err(never) => match never {},
    }
}
