//! Sums of gradients over the groups of a view, or over its cells.

use super::backward::{PAIR, Strided};
use super::boxes::{Box4, levels};
use super::partials::{Columns, Partials};
use super::planner::{Chunk, Ground, Planner, Pool, SCRATCH, Step, bounded, low, set_partials};
use super::slots::{Collected, Kernel, Registers};
use super::strategy::{SHORT_ROW, Strategy};
use super::variant::Variant;
use crate::error::Result;
use crate::plan::{StatisticMap, View};
use std::ops::Range;

/// What is summed, and where to.
#[derive(Debug, Clone, Copy)]
struct Pass {
    ground: Ground,
    /// Which statistic belongs to which element.
    statistics: StatisticMap,
    /// Whether gradients are those of the normalized values.
    weighted: bool,
    partials: Partials,
    target: Pool,
}

impl Planner<'_> {
    /// Sums of gradients and products over the groups of a view.
    pub(super) fn sum(
        &mut self,
        ground: Ground,
        statistics: StatisticMap,
        weighted: bool,
        chunk: &Chunk,
        into: Pool,
    ) -> Result<()> {
        let View { b, c, d, .. } = ground.view;
        // The strategy is about the plan's own groups; cells go by what suits them.
        let columns = match self.wishes.strategy {
            Strategy::Column if ground.view == self.plan.view => b > 1,
            Strategy::Split if ground.view == self.plan.view => false,
            _ => d < SHORT_ROW && c > 1 && b > 1,
        };
        let partials = if columns {
            Partials::of_blocks(ground.view, self.plan.dtype, self.device)
        } else {
            Partials::of_rows(ground.view, self.plan.dtype, self.device)
        };
        let groups = |piece: &Box4| piece.extent(0) * piece.extent(2);
        let halves = if !weighted && self.has_second_sums() { 2 } else { 1 };
        self.out.reserve(into, halves * groups(chunk) * PAIR);
        let add_up = |planner: &mut Self, part: &Chunk, target| {
            let pass = Pass { ground, statistics, weighted, partials, target };
            if columns { planner.sum_columns(&pass, part) } else { planner.sum_rows(&pass, part) }
        };
        if partials.count == 1 {
            return add_up(self, chunk, into);
        }
        let limit = SCRATCH.min(self.device.max_binding);
        let (b, c, d) = (b as u64, c as u64, d as u64);
        let fits = |part: &Box4| halves * groups(part) * partials.count * PAIR <= limit;
        for part in self.cut(*chunk, [1, b, 4.min(c), d], &fits)? {
            self.out.reserve(Pool::Partials, halves * groups(&part) * partials.count * PAIR);
            add_up(self, &part, Pool::Partials)?;
            let (items, count) = (groups(&part), partials.count);
            let first = part.statistics(ground.view).start - chunk.statistics(ground.view).start;
            for half in 0..halves {
                let step = self.collect(Collected::Sums, Strided { items, inner: 1, outer: count, stride: 1, count });
                (step.partials, step.sums) = (Pool::Partials, into);
                step.task.terms_origin = low(half * items * count);
                step.task.channel_origin = low(half * groups(chunk) + first);
            }
        }
        Ok(())
    }

    fn sum_rows(&mut self, pass: &Pass, chunk: &Chunk) -> Result<()> {
        let Pass { ground, partials, .. } = *pass;
        let d = ground.view.d as u64;
        let variant = self.reading_gradients(Variant::new(Kernel::Sums), d, pass.weighted);
        let second = self.second_origin(pass, chunk);
        let fits = |piece: &Box4| self.piece_fits(pass, piece);
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
            pushed.constants.each = (pass.statistics.d_scale > 0).then_some(true);
            pushed.sums(pass, &piece, second);
        }
        Ok(())
    }

    fn sum_columns(&mut self, pass: &Pass, chunk: &Chunk) -> Result<()> {
        let Pass { ground, partials, .. } = *pass;
        let [_, _, c, d] = levels(ground.view);
        let columns = Columns::to_sum(ground.view, &partials, self.device);
        let mut variant = self.reading_gradients(Variant::new(Kernel::ColumnSums), c * d, pass.weighted);
        variant.registers = Registers::holding(columns.packs);
        let second = self.second_origin(pass, chunk);
        let fits = |piece: &Box4| self.piece_fits(pass, piece);
        for piece in self.cut(*chunk, [1, partials.rows, 4.min(c), d], &fits)? {
            let mut task = self.task(ground, &piece, chunk);
            set_partials(&mut task, &partials);
            columns.deal(&mut task, &piece, d);
            let step = self.step_in(ground, c * d, true);
            let pushed = self.push(ground, variant, columns.team, task, &piece, chunk, step);
            let map = pass.statistics;
            pushed.shares_columns(columns.shared_columns());
            pushed.constants.row_statistics = (map.b_scale > 0).then_some(true);
            pushed.constants.column_statistics = (map.c_scale > 0 || map.d_scale > 0).then_some(true);
            pushed.sums(pass, &piece, second);
        }
        Ok(())
    }

    /// Where second sums begin, if there are any.
    fn second_origin(&self, pass: &Pass, chunk: &Chunk) -> Option<u64> {
        let groups = chunk.extent(0) * chunk.extent(2);
        (!pass.weighted && self.has_second_sums()).then_some(groups * pass.partials.count)
    }

    fn piece_fits(&self, pass: &Pass, piece: &Box4) -> bool {
        self.window_fits(pass.ground.view, piece) && self.entries_fit(&pass.statistics.range(piece))
    }

    /// As [`parameter_step`](Self::parameter_step), on another view.
    fn step_in(&self, ground: Ground, row: u64, columns: bool) -> Option<u32> {
        if ground.view == self.plan.view {
            return self.parameter_step(row, columns);
        }
        Some(if columns { 3 } else { 0 })
    }
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
    /// Sums over the groups of the pass's view.
    fn sums(&mut self, pass: &Pass, piece: &Box4, second: Option<u64>) {
        self.constants.weighted = pass.weighted.then_some(true);
        self.constants.second = second.map(|_| true);
        self.task.second_origin = low(second.unwrap_or(0));
        self.partials = pass.target;
        self.statistics = pass.statistics.range(piece);
        let (task, map) = (&mut self.task, pass.statistics);
        task.statistic_a_divisor = bounded(map.a_divisor);
        task.statistic_a_modulus = bounded(map.a_modulus);
        task.statistic_a_scale = low(map.a_scale as u64);
        task.statistic_b_scale = low(map.b_scale as u64);
        task.statistic_c_divisor = bounded(map.c_divisor);
        task.statistic_c_scale = low(map.c_scale as u64);
        task.statistic_d_scale = low(map.d_scale as u64);
    }
}
