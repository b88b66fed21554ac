//! The backward pass.
//!
//! Rows of `c * d` neighbours are taken tile by tile of columns. Over some rows of a tile sums are kept in f32, column
//! by column; then f64 takes over, group by group and parameter by parameter. Tiles and blocks of rows are cut by
//! `b`, `c` and `d` alone, so neither threads nor the number of groups change a bit of the input's gradient.

use super::Shared;
use super::element::Element;
use super::epilogue::Epilogue;
use super::gradient_kernels::{AddRow, TILE, Workspace, WriteRow, total};
use super::gradient_parameters::{Pair, ParameterSums, through_mixture};
use super::gradient_sums::{Sums, merged};
use super::moments::{Scale, float, narrow};
use super::parallel;
use super::parameters::Parameters;
use crate::error::Result;
use crate::plan::{GradientArguments, Gradients, GroupSums, Peers, Plan, Source, Statistics, View};
use crate::tensor::Data;
use rayon::prelude::*;
use std::ops::Range;

/// Rows that are summed in f32 before f64 takes over.
const BLOCK_ROWS: usize = 64;
/// Elements of one step of `a` that a cache holds, so that they are read once.
const CACHED: usize = 1 << 18;
/// Elements that a task should have.
const TASK: usize = 32 * 1024;
/// Tasks at most where each sums up all parameters.
const MOST_TASKS: usize = 64;

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
        // The others wait for what an empty part adds.
        let nothing = vec![0.0; plan.view.statistics()];
        let sums = GroupSums { products: nothing.clone(), gradients: nothing };
        return peers.map_or(Ok(()), |peers| peers.summed(plan, sums).map(drop));
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
struct Job<'a, T> {
    view: View,
    x: &'a [T],
    upstream: &'a [T],
    inflow: Option<&'a [T]>,
    statistics: &'a Statistics,
    /// What flows into means and deviations.
    moments_inflow: [Option<Vec<f64>>; 2],
    parameters: Parameters<'a>,
    scales: Vec<Scale>,
    epilogue: Epilogue,
    centred: bool,
    /// Whether sums over groups are wanted: where gradients go through the statistics.
    through: bool,
    /// What the sums of squares were divided by.
    divisor: f64,
    wants_parameters: bool,
    simd: pulp::Arch,
    threads: usize,
}

/// Rows whose parameters' sums are in the workspace: their first parameter, and how many they are.
#[derive(Debug, Clone, Copy)]
struct Summed {
    base: Option<usize>,
    rows: usize,
}

/// What a task finds.
#[derive(Debug, Clone, Default)]
struct Found {
    groups: Sums,
    parameters: Sums,
    /// Of what thresholds keep from the affine map, with zeros.
    clipped: Sums,
    of_eps: f64,
}

fn run<T: Element>(
    (plan, peers): Shared<'_>,
    x: &[T],
    upstream: &[T],
    arguments: &GradientArguments<'_>,
    gradients: &mut Gradients,
) -> Result<()> {
    let statistics = arguments.statistics;
    let wanted = gradients.wanted();
    let scale = |(&mean, &rstd): (&f64, &f64)| match plan.source {
        Source::Nothing => Scale::NOTHING,
        _ => Scale::given(mean, rstd),
    };
    let job = Job {
        view: plan.view,
        x,
        upstream,
        inflow: arguments.grad_sum.and_then(T::slice),
        statistics,
        moments_inflow: [arguments.grad_mean, arguments.grad_std].map(|inflow| inflow.map(Data::to_f64)),
        parameters: Parameters::new(plan, arguments.weight, arguments.bias, arguments.extra, arguments.labels),
        scales: statistics.mean.iter().zip(&statistics.rstd).map(scale).collect(),
        epilogue: Epilogue::of(plan),
        centred: plan.statistic.is_centred(),
        through: plan.statistics_follow_input() && (wanted.input || wanted.extra || peers.is_some()),
        divisor: plan.divisor(),
        wants_parameters: wanted.parameters(),
        simd: pulp::Arch::new(),
        threads: parallel::threads(plan.view.elements()),
    };
    let mut output = gradients.input.as_mut().and_then(T::slice_mut);
    let is_cached = plan.view.b * plan.view.c * plan.view.d <= CACHED;
    let mut of_shares = [[0.0; 3]; 2];
    let found = if is_cached && plan.source.mixing().is_none() && peers.is_none() {
        job.by_slabs(output.as_deref_mut(), None)
    } else {
        let found = match (job.through || job.wants_parameters, is_cached) {
            (false, _) => Vec::new(),
            (true, true) => job.by_slabs(None, None),
            (true, false) => job.sum_all(),
        };
        let mut groups = merged(found.iter().map(|f| &f.groups), plan.view.statistics());
        of_shares = through_mixture(plan, arguments, &mut groups);
        if let Some(peers) = peers {
            let all = peers.summed(plan, GroupSums::from_pairs(&groups))?;
            groups = all.into_pairs();
        }
        match output {
            Some(output) if is_cached => drop(job.by_slabs(Some(output), Some(&groups))),
            Some(output) => job.write_all(&groups, output),
            None => {}
        }
        found
    };
    if wanted.parameters() {
        let clips = job.parameters.tau.is_some();
        found_parameters(plan, &found, clips).store(plan, arguments, of_shares, gradients);
    }
    Ok(())
}

/// What is found for parameters, all together.
fn found_parameters(plan: &Plan, found: &[Found], clips: bool) -> ParameterSums {
    let len = plan.affine.map.len;
    ParameterSums {
        pairs: merged(found.iter().map(|f| &f.parameters), len),
        clipped: if clips { merged(found.iter().map(|f| &f.clipped), len) } else { Vec::new() },
        of_eps: found.iter().map(|f| f.of_eps).sum(),
    }
}

impl<T: Element> Job<'_, T> {
    fn row(&self) -> usize {
        self.view.c * self.view.d
    }

    /// Steps of `a` that fit a cache: sums and gradients one after the other, so memory is read once. Where sums over
    /// groups are `known`, gradients alone.
    fn by_slabs(&self, output: Option<&mut [T]>, known: Option<&[Pair]>) -> Vec<Found> {
        let (a, slab) = (self.view.a, self.view.b * self.row());
        let tasks = (a * slab).div_ceil(TASK).clamp(1, MOST_TASKS);
        let steps = a.div_ceil(tasks);
        // Steps that are summed before they are written: their parameters' sums are handed on together.
        let block = (CACHED / slab).clamp(1, (BLOCK_ROWS / self.view.b).max(1));
        let mut outputs: Vec<Option<&mut [T]>> = match output {
            Some(output) => output.chunks_mut(steps * slab).map(Some).collect(),
            None => (0..a.div_ceil(steps)).map(|_| None).collect(),
        };
        let task = |(i, output): (usize, &mut Option<&mut [T]>)| {
            let mut found = Found::default();
            let mut workspace = Workspace::new();
            let own = i * steps..((i + 1) * steps).min(a);
            for first in own.clone().step_by(block) {
                let some = first..(first + block).min(own.end);
                if known.is_none() && (self.through || self.wants_parameters) {
                    if output.is_some() {
                        found.groups.pairs.clear();
                    }
                    self.sum(some.clone(), 0..self.view.b, 0..self.row(), &mut workspace, &mut found);
                }
                let Some(output) = output else { continue };
                let groups = |s: usize| known.map_or_else(|| found.groups.get(s), |groups| groups[s]);
                let to = &mut output[(some.start - own.start) * slab..(some.end - own.start) * slab];
                self.write_rows(some.start * self.view.b, to, &groups, &mut workspace);
            }
            found
        };
        if self.threads > 1 {
            outputs.par_iter_mut().enumerate().map(task).collect()
        } else {
            outputs.iter_mut().enumerate().map(task).collect()
        }
    }

    /// The sums of everything, block of rows by block, and some tiles at a time.
    fn sum_all(&self) -> Vec<Found> {
        let rows = (TASK / self.row()).next_multiple_of(BLOCK_ROWS).max(BLOCK_ROWS);
        let columns = (TASK / rows.min(self.view.b)).next_multiple_of(TILE).max(TILE);
        let (blocks, spans) = (self.view.b.div_ceil(rows), self.row().div_ceil(columns));
        let task = |i: usize| {
            let (a, block, span) = (i / spans / blocks, i / spans % blocks, i % spans);
            let rows = block * rows..((block + 1) * rows).min(self.view.b);
            let columns = span * columns..((span + 1) * columns).min(self.row());
            let mut found = Found::default();
            self.sum(a..a + 1, rows, columns, &mut Workspace::new(), &mut found);
            found
        };
        (0..self.view.a * blocks * spans).into_par_iter().map(task).collect()
    }

    /// The gradient of the input where all sums are known.
    fn write_all(&self, groups: &[Pair], output: &mut [T]) {
        let row = self.row();
        if row < TASK {
            let rows = TASK / row;
            let blocks = output.par_chunks_mut(rows * row).enumerate();
            return blocks.for_each(|(i, to)| self.write_rows(i * rows, to, &|s| groups[s], &mut Workspace::new()));
        }
        let columns = TASK.next_multiple_of(TILE);
        let rows = output.par_chunks_mut(row).enumerate();
        rows.for_each(|(i, to)| {
            to.par_chunks_mut(columns).enumerate().for_each(|(span, to)| {
                let (a, b) = (i / self.view.b, i % self.view.b);
                self.write(a, b, span * columns, to, &|s| groups[s], &mut Workspace::new());
            });
        });
    }

    /// The gradient of whole rows from row `first` on, tile by tile: what neighbouring rows share is set up once.
    fn write_rows(&self, first: usize, output: &mut [T], groups: &impl Fn(usize) -> Pair, w: &mut Workspace) {
        for start in (0..self.row()).step_by(TILE) {
            let tile = start..(start + TILE).min(self.row());
            let (mut last_a, mut last_base) = (None, None);
            for (i, output) in output.chunks_mut(self.row()).enumerate() {
                let (a, b) = ((first + i) / self.view.b, (first + i) % self.view.b);
                if last_a.replace(a) != Some(a) {
                    self.set_scales(a, &tile, w);
                    self.set_through(a, &tile, groups, w);
                }
                if last_base.replace(self.base(a, b)) != Some(self.base(a, b)) {
                    self.set_parameters(a, b, &tile, w);
                }
                self.write_tile(a, b, &tile, &mut output[tile.clone()], w);
            }
        }
    }

    /// Adds rows of some steps of `a` up, tile by tile.
    fn sum(
        &self,
        steps: Range<usize>,
        rows: Range<usize>,
        columns: Range<usize>,
        w: &mut Workspace,
        found: &mut Found,
    ) {
        for start in (columns.start..columns.end).step_by(TILE) {
            let tile = start..(start + TILE).min(columns.end);
            w.clear(tile.len());
            let mut summed = Summed { base: None, rows: 0 };
            for a in steps.clone() {
                self.set_scales(a, &tile, w);
                for first in rows.clone().step_by(BLOCK_ROWS) {
                    for b in first..(first + BLOCK_ROWS).min(rows.end) {
                        self.turn_to(a, b, &tile, &mut summed, w, found);
                        self.add(a, b, &tile, w);
                    }
                    if self.through {
                        self.flush_groups(a, &tile, w, found);
                    }
                }
            }
            self.flush_parameters(&tile, summed, w, found);
        }
    }

    fn add(&self, a: usize, b: usize, tile: &Range<usize>, w: &mut Workspace) {
        let at = (a * self.view.b + b) * self.row();
        let elements = at + tile.start..at + tile.end;
        self.simd.dispatch(AddRow {
            x: &self.x[elements.clone()],
            upstream: &self.upstream[elements],
            workspace: w,
            epilogue: self.epilogue,
            parameters: self.wants_parameters,
        });
    }

    /// Makes the parameters those of row `b`; sums of others, or of as many rows as f32 adds up, are handed on.
    fn turn_to(
        &self,
        a: usize,
        b: usize,
        tile: &Range<usize>,
        summed: &mut Summed,
        w: &mut Workspace,
        found: &mut Found,
    ) {
        let base = Some(self.base(a, b));
        if summed.base != base || summed.rows == BLOCK_ROWS {
            self.flush_parameters(tile, *summed, w, found);
            summed.rows = 0;
        }
        if summed.base != base {
            self.set_parameters(a, b, tile, w);
            summed.base = base;
        }
        summed.rows += 1;
    }

    /// Writes the gradients of some columns of a row, from column `first` on.
    fn write(
        &self,
        a: usize,
        b: usize,
        first: usize,
        output: &mut [T],
        groups: &impl Fn(usize) -> Pair,
        w: &mut Workspace,
    ) {
        for (i, output) in output.chunks_mut(TILE).enumerate() {
            let start = first + i * TILE;
            let tile = start..start + output.len();
            self.set_scales(a, &tile, w);
            self.set_parameters(a, b, &tile, w);
            self.set_through(a, &tile, groups, w);
            self.write_tile(a, b, &tile, output, w);
        }
    }

    /// The gradient of some columns of a row, with what belongs to them in the workspace.
    fn write_tile(&self, a: usize, b: usize, tile: &Range<usize>, output: &mut [T], w: &mut Workspace) {
        let at = (a * self.view.b + b) * self.row();
        let elements = at + tile.start..at + tile.end;
        self.simd.dispatch(WriteRow {
            x: &self.x[elements.clone()],
            upstream: &self.upstream[elements.clone()],
            inflow: self.inflow.map(|inflow| &inflow[elements]),
            output,
            workspace: w,
            epilogue: self.epilogue,
        });
    }

    /// What of a parameter's index depends on the row.
    fn base(&self, a: usize, b: usize) -> usize {
        self.parameters.map.index(a, b, 0, 0)
    }

    /// Calls `f` with the range in the tile and the number of each run of columns that share a statistic.
    fn each_group(&self, a: usize, tile: &Range<usize>, mut f: impl FnMut(Range<usize>, usize)) {
        let d = self.view.d;
        let mut column = tile.start;
        while column < tile.end {
            let group = column / d;
            let end = ((group + 1) * d).min(tile.end);
            f(column - tile.start..end - tile.start, a * self.view.c + group);
            column = end;
        }
    }

    /// The same for each run that shares a parameter, of rows whose first has parameter `base`.
    fn each_parameter(&self, base: usize, tile: &Range<usize>, mut f: impl FnMut(Range<usize>, usize)) {
        let map = self.parameters.map;
        let (d, divisor) = (self.view.d, map.d_divisor);
        if map.c_scale == 0 && divisor >= d {
            return f(0..tile.len(), base + map.index(0, 0, 0, 0));
        }
        let mut column = tile.start;
        while column < tile.end {
            let (i_c, i_d) = (column / d, column % d);
            let shared = divisor.min(d);
            let end = (i_c * d + ((i_d / shared + 1) * shared).min(d)).min(tile.end);
            f(column - tile.start..end - tile.start, base + map.index(0, 0, i_c, i_d));
            column = end;
        }
    }

    /// Whether neighbouring columns have neighbouring parameters.
    fn has_one_each(&self) -> bool {
        self.view.c == 1 && self.parameters.map.d_divisor == 1
    }

    fn set_scales(&self, a: usize, tile: &Range<usize>, w: &mut Workspace) {
        self.each_group(a, tile, |columns, statistic| {
            let Scale { head, tail, rstd } = self.scales[statistic];
            w.head[columns.clone()].fill(head);
            w.tail[columns.clone()].fill(tail);
            w.rstd[columns].fill(rstd);
        });
    }

    fn set_parameters(&self, a: usize, b: usize, tile: &Range<usize>, w: &mut Workspace) {
        let Parameters { weight, bias, tau, .. } = &self.parameters;
        let first = self.base(a, b);
        if self.has_one_each() {
            let parameters = first + tile.start..first + tile.end;
            w.weight[..tile.len()].copy_from_slice(&weight[parameters.clone()]);
            w.bias[..tile.len()].copy_from_slice(&bias[parameters]);
        } else {
            self.each_parameter(first, tile, |columns, p| {
                w.weight[columns.clone()].fill(weight[p]);
                w.bias[columns].fill(bias[p]);
            });
        }
        w.clips = tau.is_some();
        if let Some(tau) = tau {
            self.each_parameter(first, tile, |columns, p| w.tau[columns].fill(tau[p]));
        }
    }

    fn set_through(&self, a: usize, tile: &Range<usize>, groups: &impl Fn(usize) -> Pair, w: &mut Workspace) {
        if !self.through {
            w.through_mean[..tile.len()].fill(0.0);
            w.through_variance[..tile.len()].fill(0.0);
            return;
        }
        let count = float(self.view.count());
        let divisor = self.divisor;
        self.each_group(a, tile, |columns, statistic| {
            let [products, gradients] = self.with_inflow(statistic, groups(statistic));
            let mean = if self.centred { narrow(gradients / count) } else { 0.0 };
            w.through_mean[columns.clone()].fill(mean);
            w.through_variance[columns].fill(narrow(products / divisor));
        });
    }

    /// The sums of a group, with what flows into its deviation and its mean.
    fn with_inflow(&self, statistic: usize, [products, gradients]: Pair) -> Pair {
        let [of_mean, of_std] = self
            .moments_inflow
            .each_ref()
            .map(|inflow| inflow.as_ref().map_or(0.0, |inflow| inflow[statistic] / self.statistics.rstd[statistic]));
        [products - of_std, gradients - of_mean]
    }

    fn flush_groups(&self, a: usize, tile: &Range<usize>, w: &mut Workspace, found: &mut Found) {
        self.each_group(a, tile, |columns, statistic| {
            let pair = [total(&w.products[columns.clone()]), total(&w.gradients[columns])];
            found.groups.add(statistic, pair);
            let rstd = self.statistics.rstd[statistic];
            found.of_eps -= 0.5 * rstd * rstd * pair[0];
        });
        w.products[..tile.len()].fill(0.0);
        w.gradients[..tile.len()].fill(0.0);
    }

    /// Hands the sums of parameters on.
    fn flush_parameters(&self, tile: &Range<usize>, summed: Summed, w: &mut Workspace, found: &mut Found) {
        let Some(base) = summed.base.filter(|_| self.wants_parameters) else { return };
        if self.has_one_each() {
            found.parameters.add_run(base + tile.start, &w.of_weight[..tile.len()], &w.of_bias[..tile.len()]);
        } else {
            self.each_parameter(base, tile, |columns, p| {
                let pair = [total(&w.of_weight[columns.clone()]), total(&w.of_bias[columns])];
                found.parameters.add(p, pair);
            });
        }
        if self.parameters.tau.is_some() {
            self.each_parameter(base, tile, |columns, p| found.clipped.add(p, [total(&w.of_tau[columns]), 0.0]));
        }
        for sums in [&mut w.of_weight, &mut w.of_bias, &mut w.of_tau] {
            sums[..tile.len()].fill(0.0);
        }
    }
}

impl Workspace {
    /// Forgets the sums of a tile of `len` columns.
    fn clear(&mut self, len: usize) {
        let Self { products, gradients, of_weight, of_bias, of_tau, .. } = self;
        for sums in [products, gradients, of_weight, of_bias, of_tau] {
            sums[..len].fill(0.0);
        }
    }
}
