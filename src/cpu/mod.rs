//! Executes a plan on the processor, with threads and SIMD.
//!
//! ```text
//! plan ── rows: runs of d are long ────── moments ┐
//!      └─ columns: d is short, c*d is not moments ┴─ scale ── apply ── output
//! ```
//!
//! Moments are taken block by block in f32 about a value close to the block's mean, and merged in
//! f64 in an order that `b` and `d` alone fix. Threads and passes over memory are chosen freely:
//! they change no bit.
#![expect(clippy::inline_always, reason = "what runs under `Arch::dispatch` must be inlined there to be vectorized")]

mod columns;
mod element;
mod epilogue;
mod gradient;
mod gradient_kernels;
mod moments;
mod parallel;
mod parameters;
mod pieces;
mod residual;
mod row_kernels;
mod rows;
mod running;
#[cfg(test)]
mod tests;
mod tile_kernels;

pub(crate) use gradient::backward;

use crate::plan::{Arguments, Plan, Source, Statistic, Statistics, View};
use crate::tensor::Data;
use element::Element;
use epilogue::Epilogue;
use moments::Moments;
use parameters::Parameters;

/// Executes `plan`, from `input` into `output`; in place where `input` is `None`.
pub(crate) fn execute(plan: &Plan, input: Option<&Data>, arguments: &mut Arguments<'_>, output: &mut Data) {
    if let (Some(residual), Some(sum)) = (arguments.residual, arguments.sum.take()) {
        residual::add(input.unwrap_or(output), residual, sum);
        run_stored(plan, Some(sum), arguments, output);
        arguments.sum = Some(sum);
    } else {
        run_stored(plan, input, arguments, output);
    }
}

fn run_stored(plan: &Plan, input: Option<&Data>, arguments: &mut Arguments<'_>, output: &mut Data) {
    match (input, output) {
        (None, Data::F32(y)) => run(plan, None, arguments, y),
        (None, Data::F16(y)) => run(plan, None, arguments, y),
        (None, Data::Bf16(y)) => run(plan, None, arguments, y),
        (Some(Data::F32(x)), Data::F32(y)) => run(plan, Some(x), arguments, y),
        (Some(Data::F16(x)), Data::F16(y)) => run(plan, Some(x), arguments, y),
        (Some(Data::Bf16(x)), Data::Bf16(y)) => run(plan, Some(x), arguments, y),
        _ => debug_assert!(false, "the caller checks that input and output have the plan's type"),
    }
}

/// What every stage needs to know.
#[derive(Debug)]
struct Job<'a, T> {
    view: View,
    statistic: Statistic,
    eps: f64,
    /// `None` where the output holds the input.
    input: Option<&'a [T]>,
    parameters: Parameters<'a>,
    epilogue: Epilogue,
    simd: pulp::Arch,
    threads: usize,
}

fn run<T: Element>(plan: &Plan, input: Option<&[T]>, arguments: &mut Arguments<'_>, output: &mut [T]) {
    if plan.view.elements() == 0 {
        return;
    }
    let by_columns = match plan.source {
        Source::Running { .. } => columns::suit_apply(plan.view),
        Source::Input { .. } => columns::suit(plan.view),
    };
    let view = if by_columns { columns::widened(plan.view) } else { plan.view };
    let job = Job {
        view,
        statistic: plan.statistic,
        eps: plan.eps,
        input,
        parameters: Parameters::new(plan, arguments.weight, arguments.bias),
        epilogue: Epilogue::of(plan),
        simd: pulp::Arch::new(),
        threads: parallel::threads(view.elements()),
    };
    match plan.source {
        Source::Running { channels } => {
            let Some(running) = arguments.running.as_deref() else { return };
            let scales = running::scales(running, channels, view, plan.eps);
            if by_columns {
                columns::apply(&job, &scales, output);
            } else {
                rows::apply(&job, &scales, output);
            }
            if let Some(statistics) = &mut arguments.statistics {
                **statistics = running::statistics(running, channels, view, plan.eps);
            }
        }
        Source::Input { .. } => {
            let update = plan.running_update();
            let wanted = update.is_some() || arguments.statistics.is_some();
            let moments =
                if by_columns { columns::normalize(&job, output, wanted) } else { rows::normalize(&job, output) };
            if let Some(statistics) = &mut arguments.statistics {
                **statistics = statistics_of(&moments, plan.eps);
            }
            if let (Some(update), Some(running)) = (update, arguments.running.as_deref_mut()) {
                running::update(running, update, &moments);
            }
        }
    }
}

/// What backward needs of the moments.
fn statistics_of(moments: &[Moments], eps: f64) -> Statistics {
    Statistics {
        mean: moments.iter().map(|m| m.mean).collect(),
        rstd: moments.iter().map(|m| 1.0 / (m.variance() + eps).sqrt()).collect(),
    }
}
