//! Sums of gradients over the groups of a view, or over its cells.

use super::backward::{PAIR, Strided};
use super::boxes::{Box4, levels};
use super::options::Part;
use super::partials::{Columns, Partials, row_bytes};
use super::planner::{Chunk, ENTRY, Ground, Planner, Pool, SCRATCH, Step, bounded, low, parameters_fit, set_partials};
use super::slots::{Beside, Collected, Kernel, Registers};
use super::strategy::{SHORT_ROW, Strategy, rows_share_words};
use super::variant::Variant;
use crate::error::Result;
use crate::plan::{StatisticMap, View, Wanted};
use crate::tensor::Dtype;
use std::ops::Range;

/// What is summed, and how it is cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Summing {
    ground: Ground,
    /// Which statistic belongs to which element.
    statistics: StatisticMap,
    /// Whether gradients are those of the normalized values.
    weighted: bool,
    /// Whether groups lie side by side.
    columns: bool,
    pub(super) partials: Partials,
    /// Where the sums of columns go, and what is written beside them.
    collected: Collected,
    beside: Beside,
}

impl Planner<'_> {
    /// Gradients of the normalized values and their products, over the groups of the plan.
    pub(super) fn summing_groups(&self) -> Summing {
        self.summing(self.ground(), own_statistics(self.plan.view), true)
    }

    /// Those of cells where the input's gradient is written beside them, from the same reads: where each column has
    /// parameters that all rows share, rows are groups, and one dispatch takes all of them.
    pub(super) fn summing_beside_gradient(&self, wanted: Wanted) -> Option<Summing> {
        let (plan, wishes) = (self.plan, self.wishes);
        let summing = Summing { beside: Beside::Gradient, ..self.summing_cells() };
        let View { a: rows, b: 1, c: 1, d } = plan.view else { return None };
        let rows_are_groups = summing.ground.view == View::new(1, rows, d, 1)
            && summing.statistics == StatisticMap { b_scale: 1, ..StatisticMap::NONE };
        let whole = Box4::whole(summing.ground.view);
        let are_all = wanted.input && self.cells_are_parameters(&whole, wanted);
        let is_plain = plan.epilogue.activation.is_none() && !self.has_second_sums();
        // What else is bound takes the place of an inflow.
        let can_bind = wishes.beside && !wishes.in_place && !wishes.inflow && wishes.part == Part::Whole;
        let fits = self.partials_fit(&summing, &whole) && self.piece_fits(&summing, &whole);
        let has_own_words = !rows_share_words(plan, d as u64, self.device);
        let serves = summing.columns && rows_are_groups && are_all && is_plain && can_bind && fits && has_own_words;
        serves.then_some(summing)
    }

    /// Gradients of the affine map's result and their products, over its cells.
    pub(super) fn summing_cells(&self) -> Summing {
        let cells = self.plan.affine.cells;
        self.summing(Ground { view: cells.view, map: self.map_of_cells() }, cells.statistics(), false)
    }

    fn summing(&self, ground: Ground, statistics: StatisticMap, weighted: bool) -> Summing {
        let View { b, c, d, .. } = ground.view;
        // The strategy is about the plan's own groups; cells go by what suits them.
        let columns = match self.wishes.strategy {
            Strategy::Column if ground.view == self.plan.view => b > 1,
            Strategy::Split if ground.view == self.plan.view => false,
            // Where each is one element, no team has anything to add up.
            _ => d < SHORT_ROW && c > 1 && (b > 1 || d == 1),
        };
        // Rows that are summed together have their statistics in one binding as well.
        let row_bytes = row_bytes(ground.view, self.plan.dtype).max(statistics.b_scale as u64 * ENTRY);
        let cut = if columns { Partials::of_blocks } else { Partials::of_rows };
        let partials = cut(ground.view, row_bytes, self.device);
        let (collected, beside) = (Collected::Parts, Beside::Nothing);
        Summing { ground, statistics, weighted, columns, partials, collected, beside }
    }

    /// One pair of sums for each group or cell.
    pub(super) fn sum(&mut self, summing: &Summing, chunk: &Chunk, into: Pool) -> Result<()> {
        let count = summing.partials.count;
        let halves = self.halves(summing);
        self.out.reserve(into, halves * chunk.groups() * PAIR);
        if count == 1 {
            return self.add_up(summing, chunk, into);
        }
        let [_, b, c, d] = levels(summing.ground.view);
        for part in self.cut(*chunk, [1, b, 4.min(c), d], &|part| self.partials_fit(summing, part))? {
            self.sum_parts(summing, &part, Pool::Partials)?;
            let items = part.groups();
            let first = part.statistics(summing.ground.view).start - chunk.statistics(summing.ground.view).start;
            for half in 0..halves {
                let step = self.collect(Collected::Sums, Strided::neighbours(items, count));
                (step.partials, step.sums) = (Pool::Partials, into);
                step.task.terms_origin = low(half * items * count);
                step.task.channel_origin = low(half * chunk.groups() + first);
            }
        }
        Ok(())
    }

    /// A pair of sums for each partial, those of a group or cell one after the other; straight to gradients without a pool.
    pub(super) fn sum_parts(&mut self, summing: &Summing, part: &Chunk, into: Pool) -> Result<()> {
        if summing.collected == Collected::Parts {
            self.out.reserve(into, self.halves(summing) * part.groups() * summing.partials.count * PAIR);
        }
        self.add_up(summing, part, into)
    }

    /// Whether the partials of a box fit scratch at once.
    pub(super) fn partials_fit(&self, summing: &Summing, part: &Box4) -> bool {
        let limit = SCRATCH.min(self.device.max_binding);
        self.halves(summing) * part.groups() * summing.partials.count * PAIR <= limit
    }

    /// Pairs of sums for each group or cell.
    fn halves(&self, summing: &Summing) -> u64 {
        if summing.weighted { 1 } else { self.pairs_a_cell() }
    }

    fn add_up(&mut self, summing: &Summing, part: &Chunk, target: Pool) -> Result<()> {
        if summing.columns { self.sum_columns(summing, part, target) } else { self.sum_rows(summing, part, target) }
    }

    fn sum_rows(&mut self, summing: &Summing, chunk: &Chunk, target: Pool) -> Result<()> {
        let Summing { ground, partials, .. } = *summing;
        let d = ground.view.d as u64;
        let variant = self.reading_gradients(Variant::new(Kernel::Sums), d, summing.weighted);
        let second = self.second_origin(summing, chunk);
        let fits = |piece: &Box4| self.piece_fits(summing, piece);
        for piece in self.cut(*chunk, [1, partials.rows, 1, partials.segment], &fits)? {
            let mut task = self.task(ground, &piece, chunk);
            set_partials(&mut task, &partials);
            task.origin[1] = low(piece.from[1] / partials.rows);
            task.extent[1] = low(piece.extent(1).div_ceil(partials.rows));
            task.origin[3] = low(piece.from[3] / partials.segment);
            task.extent[3] = low(piece.extent(3).div_ceil(partials.segment));
            task.items = task.extent.iter().product();
            let step = self.step_in(ground, d, false);
            let pushed = self.push(ground, variant, partials.team, task, &piece, chunk, step);
            pushed.constants.each = (summing.statistics.d_scale > 0).then_some(true);
            pushed.sums(summing, &piece, second, target);
        }
        Ok(())
    }

    fn sum_columns(&mut self, summing: &Summing, chunk: &Chunk, target: Pool) -> Result<()> {
        let Summing { ground, partials, .. } = *summing;
        let [_, _, c, d] = levels(ground.view);
        let columns = Columns::to_sum(ground.view, &partials, self.device);
        let writes = summing.beside == Beside::Gradient;
        let mut variant = self.reading_gradients(Variant::new(Kernel::ColumnSums), c * d, summing.weighted || writes);
        variant.moment = writes.then(|| self.moment());
        variant.beside = Some(summing.beside);
        variant.registers = Registers::holding(columns.packs);
        variant.collected = Some(summing.collected);
        let second = self.second_origin(summing, chunk);
        let fits = |piece: &Box4| self.piece_fits(summing, piece);
        for piece in self.cut(*chunk, [1, partials.rows, 4.min(c), d], &fits)? {
            let mut task = self.task(ground, &piece, chunk);
            set_partials(&mut task, &partials);
            columns.deal(&mut task, &piece, d);
            let step = self.step_in(ground, c * d, true);
            let pushed = self.push(ground, variant, columns.team, task, &piece, chunk, step);
            let map = summing.statistics;
            pushed.shares_columns(columns.shared_columns());
            pushed.constants.row_statistics = (map.b_scale > 0).then_some(true);
            pushed.constants.column_statistics = (map.c_scale > 0 || map.d_scale > 0).then_some(true);
            pushed.sums(summing, &piece, second, target);
        }
        Ok(())
    }

    /// Where second sums begin, if there are any.
    fn second_origin(&self, summing: &Summing, chunk: &Chunk) -> Option<u64> {
        (self.halves(summing) == 2).then_some(chunk.groups() * summing.partials.count)
    }

    fn piece_fits(&self, summing: &Summing, piece: &Box4) -> bool {
        let parameters = parameters_fit(self.plan, self.device, &summing.ground.parameters(piece));
        parameters && self.window_fits(summing.ground.view, piece) && self.entries_fit(&summing.statistics.range(piece))
    }

    /// As [`parameter_step`](Self::parameter_step), on another view.
    fn step_in(&self, ground: Ground, row: u64, columns: bool) -> Option<u32> {
        if ground.view == self.plan.view {
            return self.parameter_step(row, columns);
        }
        let are_neighbours = ground.view.d == 1 && ground.map.c_scale == 1;
        Some(match (columns, are_neighbours) {
            (true, true) => 1,
            (true, false) => 3,
            (false, _) => 0,
        })
    }
}

impl Summing {
    /// The same with what it comes to written where it is wanted, if nothing is left to collect.
    pub(super) fn straight_to(&self, collected: Collected) -> Option<Self> {
        let is_whole = self.columns && self.partials.count == 1;
        // Others share words.
        (is_whole && collected.dtype() == Some(Dtype::F32)).then_some(Self { collected, ..*self })
    }
}

/// Each group's own statistic.
fn own_statistics(view: View) -> StatisticMap {
    StatisticMap { a_scale: view.c, c_scale: 1, ..StatisticMap::NONE }
}

impl StatisticMap {
    /// The statistics of a box of cells from the first to the last; all of them where the map is periodic.
    fn range(&self, piece: &Box4) -> Range<u64> {
        let at = |corner: [u64; 4]| {
            let [a, b, c, d] = corner;
            a / self.a_divisor as u64 * self.a_scale as u64
                + b * self.b_scale as u64
                + c / self.c_divisor as u64 * self.c_scale as u64
                + d * self.d_scale as u64
        };
        let last = piece.to.map(|end| end - 1);
        if self.a_modulus != usize::MAX && last[0] / self.a_divisor as u64 >= self.a_modulus as u64 {
            return 0..self.a_modulus as u64 * self.a_scale as u64;
        }
        at(piece.from)..at(last) + 1
    }
}

impl Step {
    /// Sums over groups or cells.
    fn sums(&mut self, summing: &Summing, piece: &Box4, second: Option<u64>, target: Pool) {
        self.constants.weighted = summing.weighted.then_some(true);
        self.constants.second = second.map(|_| true);
        self.task.second_origin = low(second.unwrap_or(0));
        self.partials = target;
        self.statistics = summing.statistics.range(piece);
        let (task, map) = (&mut self.task, summing.statistics);
        task.statistic_a_divisor = bounded(map.a_divisor);
        task.statistic_a_modulus = bounded(map.a_modulus);
        task.statistic_a_scale = low(map.a_scale as u64);
        task.statistic_b_scale = low(map.b_scale as u64);
        task.statistic_c_divisor = bounded(map.c_divisor);
        task.statistic_c_scale = low(map.c_scale as u64);
        task.statistic_d_scale = low(map.d_scale as u64);
    }
}
