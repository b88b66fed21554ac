//! Executes a plan on the processor, with threads and SIMD.
//!
//! ```text
//! plan ── rows: runs of d are long ────── moments ┐
//!      └─ columns: d is short ─────────── moments ┴─ scale ── apply ── output
//!      └─ short_runs: a group is one run, a block at most ──────────── output
//! ```
//!
//! Moments are taken block by block in f32 about a value near the block's or the group's mean, and merged in
//! f64 in an order that `b` and `d` alone fix. Threads and passes over memory are chosen freely:
//! they change no bit. Distances from the mean, and 1 over the deviation, have to fit f32.
#![expect(clippy::inline_always, reason = "what runs under `Arch::dispatch` must be inlined there to be vectorized")]

mod ahead;
mod columns;
mod element;
mod epilogue;
mod functions;
mod gradient;
mod gradient_activation;
mod gradient_batch;
mod gradient_columns;
mod gradient_element;
mod gradient_groups;
mod gradient_kernels;
mod gradient_parameters;
mod gradient_places;
mod gradient_rows;
mod gradient_runs;
mod gradient_short_runs;
mod gradient_side_by_side;
mod gradient_spans;
mod gradient_sums;
mod gradient_tiles;
mod gradient_uniform_rows;
mod lanes;
mod moments;
mod parallel;
mod parameters;
mod past_caches;
mod pieces;
mod residual;
mod results;
mod row_apply;
mod row_kernels;
mod rows;
mod running;
mod short_batches;
mod short_runs;
#[cfg(test)]
mod tests;
mod tile_apply;
mod tile_kernels;
mod vectors;

pub(crate) use gradient::backward;

use crate::error::Result;
use crate::plan::{
    self, Arguments, Batch, Extra, Mixing, Peers, Plan, RunningStatistics, Shares, Source, Statistic, Statistics, View,
};
use crate::tensor::Data;
use element::Element;
use epilogue::Epilogue;
use moments::{Moments, Scale};
use parameters::Parameters;
use past_caches::{PastCaches, Writing};

/// Executes `plan`, from `input` into `output`; in place where `input` is `None`.
///
/// # Errors
///
/// Those of the `peers`, where the statistics are theirs too.
pub(crate) fn execute(
    plan: &Plan,
    peers: Option<&dyn Peers>,
    input: Option<&Data>,
    arguments: &mut Arguments<'_>,
    output: &mut Data,
) -> Result<()> {
    if let (Some(residual), Some(sum)) = (arguments.residual, arguments.sum.take()) {
        residual::add(input.unwrap_or(output), residual, sum);
        run_stored((plan, peers), Some(sum), arguments, output)?;
        arguments.sum = Some(sum);
        Ok(())
    } else {
        run_stored((plan, peers), input, arguments, output)
    }
}

/// A plan, and who else has a part in its statistics.
type Shared<'p> = (&'p Plan, Option<&'p dyn Peers>);

fn run_stored(
    shared: Shared<'_>,
    input: Option<&Data>,
    arguments: &mut Arguments<'_>,
    output: &mut Data,
) -> Result<()> {
    match (input, output) {
        (None, Data::F32(y)) => run(shared, None, arguments, y),
        (None, Data::F16(y)) => run(shared, None, arguments, y),
        (None, Data::Bf16(y)) => run(shared, None, arguments, y),
        (Some(Data::F32(x)), Data::F32(y)) => run(shared, Some(x), arguments, y),
        (Some(Data::F16(x)), Data::F16(y)) => run(shared, Some(x), arguments, y),
        (Some(Data::Bf16(x)), Data::Bf16(y)) => run(shared, Some(x), arguments, y),
        _ => {
            debug_assert!(false, "the caller checks that input and output have the plan's type");
            Ok(())
        }
    }
}

/// What every stage needs to know.
#[derive(Debug)]
struct Job<'a, T> {
    view: View,
    statistic: Statistic,
    /// Whether statistics are running estimates, or there are none.
    given: bool,
    eps: f64,
    /// `None` where the output holds the input.
    input: Option<&'a [T]>,
    parameters: Parameters<'a>,
    epilogue: Epilogue,
    simd: pulp::Arch,
    threads: usize,
    /// Whether results go past the caches.
    past_caches: bool,
    /// Whether they do so as they leave the registers.
    straight: bool,
}

fn run<T: Element>(
    (plan, peers): Shared<'_>,
    input: Option<&[T]>,
    arguments: &mut Arguments<'_>,
    output: &mut [T],
) -> Result<()> {
    if plan.view.elements() == 0 && peers.is_none() {
        arguments.count_empty_batch(plan);
        return Ok(());
    }
    let by_columns = match plan.source {
        Source::Input { .. } if peers.is_none() && short_runs::suit(plan.view) => false,
        _ => columns::suit(plan.view),
    };
    let view = if by_columns { columns::widened(plan.view) } else { plan.view };
    let run = if by_columns { view.c * view.d } else { view.d };
    let threads = parallel::threads(view.elements());
    let parameters = Parameters::new(plan, arguments.weight, arguments.bias, arguments.extra, arguments.labels);
    let epilogue = Epilogue::of(plan);
    let straight = !by_columns && rows::go_straight::<T>(view, &parameters, epilogue);
    let asks_for_lines = !by_columns && !straight && ahead::pays::<T>(view, threads);
    let writing = if asks_for_lines { Writing::AskedFor } else { Writing::AsTheyCome };
    let job = Job {
        view,
        statistic: plan.statistic,
        given: matches!(plan.source, Source::Running { .. } | Source::Nothing),
        eps: plan.eps + learned_eps(arguments.extra.eps_l),
        input,
        parameters,
        epilogue,
        simd: vectors::widest(),
        threads,
        past_caches: input.is_some() && PastCaches::pays::<T>(view.elements(), run, writing),
        straight,
    };
    let keeps = plan.running_update().is_some() || arguments.statistics.is_some();
    let mut count = plan.shard_count();
    let (moments, sources) = match (plan.source, peers) {
        (Source::Input { .. }, Some(peers)) => {
            let Some(all) = peers.moments(plan, || job.measured(by_columns, output))? else { return Ok(()) };
            job.apply(by_columns, &scales_of(&all.moments, job.eps, false), output);
            count = all.count;
            (all.moments, plan::Moments::default())
        }
        (Source::Input { .. }, None) => (job.normalize(by_columns, keeps, output), plan::Moments::default()),
        (Source::Running { .. } | Source::Nothing, _) => {
            let moments = given(plan, arguments.running.as_deref());
            job.apply(by_columns, &scales_of(&moments, job.eps, plan.source == Source::Nothing), output);
            (moments, plan::Moments::default())
        }
        (Source::Mixed(mixing), _) => {
            let sources = mixing.of_instances(job.measured(by_columns, output), mixed_in(mixing, arguments));
            let moments = mixing.mixed(&sources, &shares(arguments.extra));
            job.apply(by_columns, &scales_of(&moments, job.eps, false), output);
            (moments, sources)
        }
    };
    if let (Some(update), Some(running)) = (plan.running_update(), arguments.running.as_deref_mut()) {
        let followed = match plan.source {
            Source::Mixed(mixing) => mixing.of_batch(&sources),
            _ => [&moments.mean[..], &moments.var],
        };
        update.apply(running, count, followed);
    }
    if let Some(statistics) = &mut arguments.statistics {
        let rstd = moments.var.iter().map(|var| 1.0 / (var + job.eps).sqrt()).collect();
        **statistics = Statistics { mean: moments.mean, rstd, sources };
    }
    Ok(())
}

impl<T: Element> Job<'_, T> {
    /// A task's way past the caches, if results go there.
    fn past_caches(&self) -> Option<PastCaches> {
        PastCaches::when(self.past_caches)
    }

    /// Normalizes by the input's own moments, and returns them where they are wanted.
    fn normalize(&self, by_columns: bool, wanted: bool, output: &mut [T]) -> plan::Moments {
        let moments =
            if by_columns { columns::normalize(self, output, wanted) } else { rows::normalize(self, output, wanted) };
        if wanted { self.stated(&moments) } else { plan::Moments::default() }
    }

    /// The input's own moments; zeros where it is empty.
    fn measured(&self, by_columns: bool, output: &[T]) -> plan::Moments {
        if self.view.elements() == 0 {
            let zeros = vec![0.0; self.view.statistics()];
            return plan::Moments { mean: zeros.clone(), var: zeros };
        }
        let input = self.input.unwrap_or(output);
        self.stated(&if by_columns { columns::all_moments(self, input) } else { rows::all_moments(self, input) })
    }

    fn apply(&self, by_columns: bool, scales: &[Scale], output: &mut [T]) {
        if self.view.elements() == 0 {
            return;
        }
        if by_columns {
            columns::apply(self, scales, output);
        } else {
            rows::apply(self, scales, output);
        }
    }

    fn stated(&self, moments: &[Moments]) -> plan::Moments {
        plan::Moments {
            mean: moments.iter().map(|m| m.mean).collect(),
            var: moments.iter().map(|m| m.variance(self.statistic)).collect(),
        }
    }
}

/// What is added to eps.
fn learned_eps(eps_l: Option<&Data>) -> f64 {
    eps_l.and_then(|eps| eps.to_f64().first().copied()).map_or(0.0, f64::abs)
}

/// How statistics are mixed.
fn shares(extra: Extra<Option<&Data>>) -> Shares {
    let values = |data: Option<&Data>| data.map(Data::to_f64).unwrap_or_default();
    Shares::new(&values(extra.mean_weight), &values(extra.var_weight))
}

/// The running estimates that stand for the batch in a mixture.
fn mixed_in(mixing: Mixing, arguments: &Arguments<'_>) -> Option<plan::Moments> {
    arguments.running.as_deref().filter(|_| mixing.batch == Batch::Running).map(running::moments)
}

/// Moments that are not those of the input: the running estimates, or those of values that stay as they are.
fn given(plan: &Plan, running: Option<&RunningStatistics>) -> plan::Moments {
    let groups = plan.view.statistics();
    let Some(running) = running.filter(|_| plan.source != Source::Nothing) else {
        return plan::Moments { mean: vec![0.0; groups], var: vec![1.0; groups] };
    };
    let every = |values: Vec<f64>| values.iter().copied().cycle().take(groups).collect();
    let plan::Moments { mean, var } = running::moments(running);
    plan::Moments { mean: every(mean), var: every(var) }
}

fn scales_of(moments: &plan::Moments, eps: f64, nothing: bool) -> Vec<Scale> {
    let scale = |(&mean, &var): (&f64, &f64)| if nothing { Scale::NOTHING } else { Scale::new(mean, var, eps) };
    moments.mean.iter().zip(&moments.var).map(scale).collect()
}
