//! The backward pass.
//!
//! ```text
//! plan ── runs: nothing but weight and bias follows, long enough ──── gradient_runs
//!      │       ├─ of rows, one parameter a column ─────────────────── gradient_rows
//!      │       ├─ of few long rows, likewise ──────────────────────── gradient_spans
//!      │       ├─ of short rows, likewise ─────────────────────────── gradient_short_runs
//!      │       └─ of rows of a few elements, however few ──────────── gradient_side_by_side
//!      └─ tiles of columns ─┬─ the same, rows share parameters ────── gradient_columns
//!                           ├─ the same, each row has one ─────────── gradient_uniform_rows
//!                           └─ all else ───────────────────────────── gradient_tiles
//! ```
//!
//! Sums are kept in f32 over some elements or rows; then f64 takes over, group by group and parameter by parameter.
//! What is summed together is cut by `b`, `c` and `d` alone, so neither threads nor how many steps of `a` there are change a
//! bit of the input's gradient.

use super::Shared;
use super::element::Element;
use super::epilogue::Epilogue;
use super::gradient_activation::taken_back;
use super::gradient_groups::{Groups, Through};
use super::gradient_kernels::{TILE, Workspace};
use super::gradient_parameters::{Pair, ParameterSums, through_mixture};
use super::gradient_places::Places;
use super::gradient_runs::ROWS;
use super::gradient_side_by_side::MOST_SIDE_BY_SIDE;
use super::gradient_spans::parameters_are_columns;
use super::gradient_sums::{Sums, merged};
use super::lanes::SIDE_BY_SIDE;
use super::parallel;
use super::parameters::Parameters;
use super::past_caches::{PastCaches, Writing};
use super::pieces::{Pieces, bands};
use super::vectors;
use crate::error::Result;
use crate::plan::{GradientArguments, Gradients, GroupSums, Peers, Plan, View};
use crate::tensor::Data;
use rayon::prelude::*;
use std::ops::Range;

/// Rows that are summed in f32 before f64 takes over.
pub(super) const BLOCK_ROWS: usize = 64;
/// Elements of one step of `a` that a cache holds, so that they are read once.
pub(super) const CACHED: usize = 1 << 18;
/// Elements that a task should have.
const TASK: usize = 32 * 1024;
/// Tasks at most where each sums up all parameters.
const MOST_TASKS: usize = 64;
/// Rows that a task should have, and as many tasks as there are at least, where each has sums of its own for every column.
const LEAST_ROWS: usize = 8;
const FEWEST_TASKS: usize = 4;

/// Executes the backward pass of `plan`; fills the gradients that are there.
///
/// # Errors
///
/// Those of the `peers`, where the statistics are theirs too.
pub(crate) fn backward(
    plan: &Plan,
    peers: Option<&dyn Peers>,
    arguments: &GradientArguments<'_>,
    gradients: &mut Gradients,
) -> Result<()> {
    if plan.view.elements() == 0 {
        let Some(peers) = peers else { return Ok(()) };
        // The others wait for what an empty part adds.
        let nothing = vec![0.0; plan.view.statistics()];
        return peers.summed(plan, GroupSums { products: nothing.clone(), gradients: nothing }).map(drop);
    }
    match (arguments.input, arguments.grad_output) {
        (Data::F32(x), Data::F32(g)) => run((plan, peers), x, g, arguments, gradients),
        (Data::F16(x), Data::F16(g)) => run((plan, peers), x, g, arguments, gradients),
        (Data::Bf16(x), Data::Bf16(g)) => run((plan, peers), x, g, arguments, gradients),
        _ => {
            debug_assert!(false, "the caller checks that all have the plan's type");
            Ok(())
        }
    }
}

/// What every stage needs to know.
pub(super) struct Job<'a, T> {
    pub(super) view: View,
    pub(super) x: &'a [T],
    pub(super) upstream: &'a [T],
    pub(super) inflow: Option<&'a [T]>,
    pub(super) groups: Groups<'a>,
    pub(super) parameters: Parameters<'a>,
    pub(super) epilogue: Epilogue,
    pub(super) wants_parameters: bool,
    /// Whether eps has a gradient.
    pub(super) learns_eps: bool,
    pub(super) simd: pulp::Arch,
    pub(super) threads: usize,
    /// Whether the input's gradient goes past the caches.
    pub(super) past_caches: bool,
}

/// What a task finds.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) groups: Sums,
    pub(super) parameters: Sums,
    /// Of what thresholds keep from the affine map, with zeros.
    pub(super) clipped: Sums,
    pub(super) of_eps: f64,
}

impl Found {
    /// Adds what was found of a group with this `rstd`.
    pub(super) fn add_to_group(&mut self, statistic: usize, pair: Pair, rstd: f64) {
        self.groups.add(statistic, pair);
        self.add_to_eps(pair, rstd);
    }

    /// Adds what was found of a group with this `rstd` to the gradient of eps.
    pub(super) fn add_to_eps(&mut self, [products, _]: Pair, rstd: f64) {
        self.of_eps -= 0.5 * rstd * rstd * products;
    }
}

fn run<T: Element>(
    (plan, peers): Shared<'_>,
    x: &[T],
    upstream: &[T],
    arguments: &GradientArguments<'_>,
    gradients: &mut Gradients,
) -> Result<()> {
    let wanted = gradients.wanted();
    let through = plan.statistics_follow_input() && (wanted.input || wanted.extra || peers.is_some());
    let mut job = Job {
        view: plan.view,
        x,
        upstream,
        inflow: arguments.grad_sum.and_then(T::slice),
        groups: Groups::new(plan, arguments, through),
        parameters: Parameters::new(plan, arguments.weight, arguments.bias, arguments.extra, arguments.labels),
        epilogue: Epilogue::of(plan),
        wants_parameters: wanted.parameters(),
        learns_eps: plan.extra.eps_l.is_some(),
        simd: vectors::widest(),
        threads: parallel::threads(plan.view.elements()),
        past_caches: false,
    };
    let before_activation = taken_back(plan, arguments, &job);
    if let Some(before_activation) = &before_activation {
        (job.upstream, job.epilogue) = (before_activation, Epilogue::default());
    }
    // Short runs are written some at a time; those that lie side by side do not go past the caches.
    let run = match (job.by_short_runs(), job.by_runs()) {
        (true, _) if job.view.d > MOST_SIDE_BY_SIDE => SIDE_BY_SIDE * job.view.d,
        (_, true) => job.view.d,
        _ => job.row(),
    };
    job.past_caches = PastCaches::pays::<T>(job.view.elements(), run, Writing::AsTheyCome);
    // Nobody has a say in sums over groups between their being found and being used.
    let is_alone = plan.source.mixing().is_none() && peers.is_none();
    if is_alone && wanted.parameters() && parameters_are_columns(plan, gradients) && job.suits_spans() {
        job.by_spans(gradients);
        return Ok(());
    }
    let is_cached = plan.view.b * plan.view.c * plan.view.d <= CACHED;
    let output = gradients.input.as_mut().and_then(T::slice_mut);
    let mut of_shares = [[0.0; 3]; 2];
    let found = match output {
        output if is_alone && is_cached => job.by_slabs(output.map_or(Slabs::Sum, Slabs::SumAndWrite)),
        Some(output) if is_alone && job.bands_are_cached() => job.by_bands(output),
        output => {
            let found = match (job.sums_anything(), is_cached) {
                (false, _) => Vec::new(),
                (true, true) => job.by_slabs(Slabs::Sum),
                (true, false) => job.sum_all(),
            };
            let mut groups = merged(found.iter().map(|f| &f.groups), plan.view.statistics(), job.threads);
            of_shares = through_mixture(plan, arguments, &mut groups);
            if let Some(peers) = peers {
                let all = peers.summed(plan, GroupSums::from_pairs(&groups))?;
                groups = all.into_pairs();
            }
            let through: Vec<Through> = (0..).zip(&groups).map(|(s, sums)| job.groups.through_of(s, *sums)).collect();
            if let Some(output) = output {
                if is_cached {
                    drop(job.by_slabs(Slabs::Write(output, &through)));
                } else {
                    job.write_all(&through, output);
                }
            }
            found
        }
    };
    if wanted.parameters() {
        let clips = job.parameters.tau.is_some();
        found_parameters(plan, &found, clips, job.threads).store(plan, arguments, of_shares, gradients);
    }
    Ok(())
}

/// What is done to slabs that a cache holds.
enum Slabs<'a, T> {
    Sum,
    SumAndWrite(&'a mut [T]),
    /// With what goes through statistics, once sums over all groups are known.
    Write(&'a mut [T], &'a [Through]),
}

/// What is found for parameters, all together.
fn found_parameters(plan: &Plan, found: &[Found], clips: bool, threads: usize) -> ParameterSums {
    let len = plan.affine.map.len;
    ParameterSums {
        pairs: merged(found.iter().map(|f| &f.parameters), len, threads),
        clipped: if clips { merged(found.iter().map(|f| &f.clipped), len, threads) } else { Vec::new() },
        of_eps: found.iter().map(|f| f.of_eps).sum(),
    }
}

impl<T: Element> Job<'_, T> {
    pub(super) fn row(&self) -> usize {
        self.view.c * self.view.d
    }

    /// Some columns of a row of a tensor.
    pub(super) fn elements<'e>(&self, tensor: &'e [T], a: usize, b: usize, columns: &Range<usize>) -> &'e [T] {
        let row = (a * self.view.b + b) * self.row();
        &tensor[row + columns.start..row + columns.end]
    }

    /// Where the neighbours of a column end that share its statistic, and what every `shared` of these have in common.
    pub(super) fn end_of_run(&self, column: usize, shared: usize) -> usize {
        let d = self.view.d;
        let (i_c, i_d) = (column / d, column % d);
        i_c * d + ((i_d / shared + 1) * shared).min(d)
    }

    /// Whether nothing but weight and bias follows the normalization.
    pub(super) fn is_plain(&self) -> bool {
        self.epilogue.is_nothing() && self.parameters.tau.is_none()
    }

    /// Whether anything has to be summed: for gradients that go through statistics, or for parameters.
    fn sums_anything(&self) -> bool {
        self.groups.through || self.wants_parameters
    }

    /// A task's way past the caches, if the gradients that it writes go there.
    pub(super) fn past_caches(&self) -> Option<PastCaches> {
        PastCaches::when(self.past_caches)
    }

    /// Runs need no tables.
    fn workspace(&self) -> Workspace {
        Workspace::new(if self.by_runs() { 0 } else { TILE.min(self.row()) }, self.past_caches())
    }

    /// Steps of `a` that fit a cache: sums and gradients one after the other, so memory is read once.
    fn by_slabs(&self, slabs: Slabs<'_, T>) -> Vec<Found> {
        let (output, known) = match slabs {
            Slabs::Sum => (None, None),
            Slabs::SumAndWrite(output) => (Some(output), None),
            Slabs::Write(output, through) => (Some(output), Some(through)),
        };
        let (a, slab) = (self.view.a, self.view.b * self.row());
        let tasks = (a * slab).div_ceil(TASK).clamp(1, self.most_tasks());
        let steps = a.div_ceil(tasks);
        // Steps that are summed before they are written. Column by column their parameters' sums are handed on
        // together; of runs a few are summed together, if at all.
        let most = match (self.by_runs(), self.has_one_each()) {
            (true, true) => ROWS / self.view.b,
            (true, false) => 1,
            (false, _) => BLOCK_ROWS / self.view.b,
        };
        let block = (CACHED / slab).clamp(1, most.max(1));
        let mut outputs: Vec<Option<&mut [T]>> = match output {
            Some(output) => output.chunks_mut(steps * slab).map(Some).collect(),
            None => (0..a.div_ceil(steps)).map(|_| None).collect(),
        };
        let task = |(i, output): (usize, &mut Option<&mut [T]>)| {
            let mut found = Found::default();
            let own = i * steps..((i + 1) * steps).min(a);
            if let (Some(output), None, true) = (&mut *output, known, self.by_short_runs()) {
                self.write_short_runs(own, output, &mut found);
                return found;
            }
            if let (Some(output), None, true) = (&mut *output, known, self.by_own_rows()) {
                self.write_own_rows(own, output, &mut found);
                return found;
            }
            let mut workspace = self.workspace();
            for first in own.clone().step_by(block) {
                let some = first..(first + block).min(own.end);
                if known.is_none() && self.sums_anything() {
                    if output.is_some() {
                        found.groups.pairs.clear();
                    }
                    self.sum(some.clone(), 0..self.view.b, 0..self.row(), &mut workspace, &mut found);
                }
                let Some(output) = output else { continue };
                let through = |s: usize| {
                    known.map_or_else(|| self.groups.through_of(s, found.groups.get(s)), |through| through[s])
                };
                let to = &mut output[(some.start - own.start) * slab..(some.end - own.start) * slab];
                self.write_rows(some.start * self.view.b, to, &through, &mut workspace);
            }
            workspace.places.flush(&mut found);
            found
        };
        if self.threads > 1 {
            outputs.par_iter_mut().enumerate().map(task).collect()
        } else {
            outputs.iter_mut().enumerate().map(task).collect()
        }
    }

    /// Where every column has a parameter, sums of few rows would move more bytes than the rows themselves.
    fn most_tasks(&self) -> usize {
        let rows = self.view.a * self.view.b;
        if self.has_one_each() && self.wants_parameters {
            (rows / LEAST_ROWS).clamp(FEWEST_TASKS, MOST_TASKS)
        } else {
            MOST_TASKS
        }
    }

    /// Whether the groups of some runs side by side fit a cache, though a step of `a` does not.
    fn bands_are_cached(&self) -> bool {
        self.by_runs() && self.view.c > 1 && self.view.b * self.view.d <= CACHED
    }

    /// Groups side by side, some at a time: sums and gradients one after the other, so memory is read once.
    fn by_bands(&self, output: &mut [T]) -> Vec<Found> {
        let (b, c, d) = (self.view.b, self.view.c, self.view.d);
        let groups = (TASK / (b * d)).clamp(1, c);
        let a_band = c.div_ceil(groups);
        let task = |(i, mut pieces): (usize, Pieces<'_, T>)| {
            let (a, first) = (i / a_band, i % a_band * groups);
            let mut found = Found::default();
            // Side by side no column has a parameter of its own.
            let (mut places, past) = (Places::default(), self.past_caches());
            for group in first..(first + groups).min(c) {
                let columns = group * d..(group + 1) * d;
                if self.sums_anything() {
                    self.sum_runs(a..a + 1, 0..b, &columns, &mut places, &mut found);
                }
                for row in 0..b {
                    let to = pieces.get_mut(row, columns.start - first * d..columns.end - first * d);
                    self.write_runs(
                        a,
                        row,
                        &columns,
                        to,
                        &|s| self.groups.through_of(s, found.groups.get(s)),
                        past.as_ref(),
                    );
                }
            }
            found
        };
        bands(output, b, c * d, groups * d).into_par_iter().enumerate().map(task).collect()
    }

    /// Elements that a task has, of those that all groups side by side have: more where tasks remain many, since each
    /// sets up its tables, and has sums of its own for every column.
    fn task(&self) -> usize {
        (self.view.b * self.row() / 16).clamp(TASK, 8 * TASK)
    }

    /// Rows of a step of `a`, and columns, that are summed together where no cache holds a step.
    pub(super) fn block(&self) -> (usize, usize) {
        let rows = (self.task() / self.row()).next_multiple_of(BLOCK_ROWS).max(BLOCK_ROWS);
        let columns = (self.task() / rows.min(self.view.b)).next_multiple_of(TILE).max(TILE);
        (rows, columns)
    }

    /// The sums of everything, block of rows by block, and some tiles at a time.
    fn sum_all(&self) -> Vec<Found> {
        let (rows, columns) = self.block();
        let (blocks, spans) = (self.view.b.div_ceil(rows), self.row().div_ceil(columns));
        // Where columns have parameters of their own, fewer tasks make fewer sums of all of them.
        let steps = (self.view.a * blocks * spans).div_ceil(self.most_tasks()).min(self.view.a);
        let task = |i: usize| {
            let (step, block, span) = (i / spans / blocks, i / spans % blocks, i % spans);
            let steps = step * steps..((step + 1) * steps).min(self.view.a);
            let rows = block * rows..((block + 1) * rows).min(self.view.b);
            let columns = span * columns..((span + 1) * columns).min(self.row());
            let mut found = Found::default();
            let mut workspace = self.workspace();
            self.sum(steps, rows, columns, &mut workspace, &mut found);
            workspace.places.flush(&mut found);
            found
        };
        (0..self.view.a.div_ceil(steps) * blocks * spans).into_par_iter().map(task).collect()
    }

    /// The gradient of the input where all sums are known; of short rows from the last on, since what was read last is
    /// still in a cache.
    fn write_all(&self, through: &[Through], output: &mut [T]) {
        let row = self.row();
        if row < TASK {
            let rows = self.task() / row;
            let blocks = output.par_chunks_mut(rows * row).enumerate().rev();
            return blocks.for_each(|(i, to)| self.write_rows(i * rows, to, &|s| through[s], &mut self.workspace()));
        }
        let columns = TASK.next_multiple_of(TILE);
        let rows = output.par_chunks_mut(row).enumerate();
        rows.for_each(|(i, to)| {
            to.par_chunks_mut(columns).enumerate().for_each(|(span, to)| {
                let (a, b, first) = (i / self.view.b, i % self.view.b, span * columns);
                if self.by_runs() {
                    self.write_runs(a, b, &(first..first + to.len()), to, &|s| through[s], self.past_caches().as_ref());
                } else {
                    self.write_columns(a, b, first, to, &|s| through[s], &mut self.workspace());
                }
            });
        });
    }

    /// The gradient of whole rows from row `first` on.
    fn write_rows(&self, first: usize, output: &mut [T], through: &impl Fn(usize) -> Through, w: &mut Workspace) {
        if self.by_runs() {
            for (i, output) in output.chunks_mut(self.row()).enumerate() {
                let (a, b) = ((first + i) / self.view.b, (first + i) % self.view.b);
                self.write_runs(a, b, &(0..self.row()), output, through, w.past.as_ref());
            }
            return;
        }
        self.write_tiles(first, output, through, w);
    }

    /// Adds rows of some steps of `a` up.
    fn sum(
        &self,
        steps: Range<usize>,
        rows: Range<usize>,
        columns: Range<usize>,
        w: &mut Workspace,
        found: &mut Found,
    ) {
        if self.by_runs() {
            return self.sum_runs(steps, rows, &columns, &mut w.places, found);
        }
        self.sum_tiles(steps, &rows, columns, w, found);
    }

    /// What of a parameter's index depends on the row.
    pub(super) fn base(&self, a: usize, b: usize) -> usize {
        self.parameters.map.index(a, b, 0, 0)
    }

    /// Whether neighbouring columns have neighbouring parameters.
    pub(super) fn has_one_each(&self) -> bool {
        self.view.c == 1 && self.parameters.map.d_divisor == 1
    }
}
