//! The gradients of weight and bias, from sums over the cells of the affine map.

use super::backward::{PAIR, Strided};
use super::boxes::{Box4, levels};
use super::planner::{Planner, Pool, SCRATCH, low, too_large};
use super::slots::Collected;
use super::sums::Summing;
use crate::error::Result;
use crate::plan::{View, Wanted};

/// Where sums over cells are, and how many each cell has there, one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct SumsOfCells {
    pub(super) cells: View,
    pub(super) pool: Pool,
    pub(super) each: u64,
}

impl Planner<'_> {
    /// The parameters' gradients, read for on their own.
    pub(super) fn parameters_alone(&mut self, wanted: Wanted) -> Result<()> {
        if !wanted.parameters() {
            return Ok(());
        }
        self.parameters_from(&self.summing_cells(), wanted)
    }

    /// The same with what else is written where they are read for.
    pub(super) fn parameters_from(&mut self, summing: &Summing, wanted: Wanted) -> Result<()> {
        let cells = self.plan.affine.cells.view;
        let whole = Box4::whole(cells);
        if self.wishes.beside
            && self.cells_are_parameters(&whole, wanted)
            && let Some(straight) = summing.straight_to(self.collected(wanted))
        {
            return self.sum_parts(&straight, &whole, Pool::Cells);
        }
        let [_, b, c, d] = levels(cells);
        let period = self.period_of(cells);
        let granule = [period, b, c, d];
        let part_of_a_row = [1, b, 4.min(c), d];
        let pair = self.pairs_a_cell() * PAIR;
        let limit = SCRATCH.min(self.device.max_binding);
        let entries = |piece: &Box4| piece.groups() * pair <= limit;
        let pieces = (whole.cut(granule, &|piece| self.partials_fit(summing, piece)))
            .or_else(|| whole.cut(granule, &entries))
            .or_else(|| whole.cut_within(period, part_of_a_row, &entries))
            .ok_or_else(|| too_large("sums of a parameter's gradient", pair * 4.min(c), limit))?;
        let several = pieces.len() > 1;
        for piece in &pieces {
            // In another pool than the parts of groups, so that nobody waits for both.
            let sums = self.sum_cells(summing, piece, Pool::Cells)?;
            self.parameters_of_cells(piece, sums, wanted, several);
        }
        self.parameters_of_carry(wanted, several);
        Ok(())
    }

    /// Sums over the cells of a box: in parts in a pool, or where these do not fit scratch at once whole.
    pub(super) fn sum_cells(&mut self, summing: &Summing, part: &Box4, pool: Pool) -> Result<SumsOfCells> {
        let cells = self.plan.affine.cells.view;
        if self.partials_fit(summing, part) {
            self.sum_parts(summing, part, pool)?;
            return Ok(SumsOfCells { cells, pool, each: summing.partials.count });
        }
        self.sum(summing, part, Pool::Cells)?;
        Ok(SumsOfCells { cells, pool: Pool::Cells, each: 1 })
    }

    /// Whether each of the caller's parameters belongs to one cell of a box.
    pub(super) fn cells_are_parameters(&self, part: &Box4, wanted: Wanted) -> bool {
        let are_callers = (wanted.weight || wanted.bias) && self.plan.derivation.is_none();
        are_callers && part.groups() == self.plan.affine.map.len as u64
    }

    /// From cells, whose parameter is `cell % len`: of whole rows of parameters, or of some within one.
    pub(super) fn parameters_of_cells(&mut self, part: &Box4, sums: SumsOfCells, wanted: Wanted, several: bool) {
        let SumsOfCells { cells, pool, each } = sums;
        let len = self.plan.affine.map.len as u64;
        let start = part.statistics(cells).start;
        let first = start % len;
        let here = part.groups();
        let items = here.min(len);
        let strided = Strided::rows_of_runs(items, each, here / items);
        let is_first = start < len;
        self.parameters(pool, strided, wanted, several.then_some((first, is_first)));
        if self.has_second_sums() {
            self.parameters(pool, strided, wanted, Some((len + first, is_first)));
            if let Some(step) = self.out.steps.last_mut() {
                step.task.terms_origin = low(here * each);
            }
        }
    }

    /// From blocks of groups, each with a sum for every place of a group.
    pub(super) fn parameters_of_blocks(&mut self, piece: &Box4, blocks: [u64; 2], wanted: Wanted, several: bool) {
        let places = self.plan.view.count() as u64;
        let all = blocks[0] * blocks[1];
        if self.plan.affine.map.a_scale == 0 {
            let strided = Strided::rows(places, all);
            let is_first = piece.from[0] == 0 && piece.from[2] == 0;
            self.parameters(Pool::Cells, strided, wanted, several.then_some((0, is_first)));
        } else {
            // A row of parameters for each step of a.
            let items = piece.extent(0) * places;
            let outer = blocks[1] * places;
            let strided = Strided { items, inner: places, outer, stride: places, run: 1, count: blocks[1] };
            let carry = (piece.from[0] * places, piece.from[2] == 0);
            self.parameters(Pool::Cells, strided, wanted, several.then_some(carry));
        }
    }

    /// Collects from a pool: to the gradients, or, where more is to come, to the carry.
    fn parameters(&mut self, pool: Pool, strided: Strided, wanted: Wanted, carry: Option<(u64, bool)>) {
        let carry = carry.or(self.plan.derivation.map(|_| (0, true)));
        let Some((origin, is_first)) = carry else {
            if wanted.weight || wanted.bias {
                let step = self.collect(self.collected(wanted), strided);
                step.partials = pool;
            }
            return;
        };
        self.out.reserve(Pool::Carry, self.pairs_a_cell() * self.plan.affine.map.len as u64 * PAIR);
        let step = self.collect(Collected::Sums, strided);
        (step.partials, step.sums) = (pool, Pool::Carry);
        step.task.channel_origin = low(origin);
        step.task.is_first_chunk = u32::from(is_first);
    }

    /// What was collected in the carry, where there was more than one part, or where the caller's parameters are not
    /// those of the affine map.
    pub(super) fn parameters_of_carry(&mut self, wanted: Wanted, several: bool) {
        if let Some(derivation) = self.plan.derivation {
            return self.derived_parameters(derivation, wanted);
        }
        if !several || !(wanted.weight || wanted.bias) {
            return;
        }
        let len = self.plan.affine.map.len as u64;
        let step = self.collect(self.collected(wanted), Strided::rows(len, 1));
        step.partials = Pool::Carry;
    }

    pub(super) fn collected(&self, wanted: Wanted) -> Collected {
        Collected::of(wanted.weight, wanted.bias, self.plan.parameter_dtype())
    }
}
