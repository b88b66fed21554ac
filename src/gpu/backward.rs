//! The dispatches that a plan's backward pass comes down to on a device.
//!
//! ```text
//! groups fit registers        resident_gradient or resident_gradient_columns ─ collect ─ parameters
//! cells lie within groups     sums of parts ─┬─ collect ─ parameters
//!                                            └─ collect ─ sums of cells ─ collect ─ sums of groups ─ gradient
//! there, few parts a group    sums of parts ─┬─ collect ─ parameters
//!                                            └─ collect_gradient
//! cells are groups            sums of parts ─ collect ─┬─ parameters
//!                                                      └─ sums of groups ─ gradient
//! cells lie across groups     parameters alone;  sums of groups ─ gradient
//! there, columns of all rows  sums of groups ─ column_sums with gradient ─ parameters
//! statistics are given        parameters alone;  gradient
//!
//! parameters alone            sums of parts ─ collect ─ parameters
//! there, columns of few rows  column_sums ─ parameters
//! ```

use super::boxes::{Box4, levels};
use super::capabilities::Capabilities;
use super::options::Part;
use super::parameters::SumsOfCells;
use super::planner::{
    Chunk, ENTRY, Planner, Pool, SCRATCH, SLACK, Schedule, Step, Wishes, check_levels, low, too_large,
};
use super::role::Role;
use super::slots::{AffineSlot, Collected, Kernel, Parameter, Terms};
use super::strategy::Strategy;
use super::sums::Summing;
use super::variant::Variant;
use super::writing::Writers;
use crate::error::Result;
use crate::plan::{Cells, Nesting, ParameterMap, Plan, View, Wanted};
use std::ops::Range;

/// Bytes of one pair of sums.
pub(super) const PAIR: u64 = 8;

/// Sums of terms that come in runs a stride apart: result `j` begins at `j / inner * outer + j % inner`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strided {
    pub(super) items: u64,
    pub(super) inner: u64,
    pub(super) outer: u64,
    pub(super) stride: u64,
    pub(super) run: u64,
    pub(super) count: u64,
}

impl Strided {
    /// Each of so many neighbours, one result after the other.
    pub(super) fn neighbours(items: u64, count: u64) -> Self {
        Self { items, inner: 1, outer: count, stride: 1, run: 1, count }
    }

    /// Each of so many rows of results.
    pub(super) fn rows(items: u64, count: u64) -> Self {
        Self::rows_of_runs(items, 1, count)
    }

    /// The same where each entry of a row is a run.
    pub(super) fn rows_of_runs(items: u64, run: u64, rows: u64) -> Self {
        Self { items, inner: 1, outer: run, stride: items * run, run, count: rows * run }
    }
}

/// How a team joins the sums of its group: how many there are, and by how many lanes.
#[derive(Debug, Clone, Copy)]
struct Joined {
    count: u64,
    lanes: u32,
}

/// The schedule of a plan's backward pass.
pub(crate) fn backward(plan: &Plan, wanted: Wanted, device: &Capabilities, wishes: Wishes) -> Result<Schedule> {
    check_levels(plan.affine.cells.view)?;
    let mut planner = Planner::new(plan, device, wishes)?;
    if plan.view.elements() == 0 {
        if wanted.parameters() && wishes.part != Part::Apply {
            planner.zero_parameters(wanted);
        }
        return Ok(planner.out);
    }
    planner.prepare()?;
    let wanted = Wanted { input: wanted.input && wishes.part != Part::Reduce, ..wanted };
    match wishes.strategy {
        _ if wishes.part == Part::Apply && !wanted.input => {}
        _ if wishes.part == Part::Apply => planner.gradient(&planner.one_chunk(1)?, false)?,
        Strategy::Resident => planner.whole_groups_backward(wanted)?,
        Strategy::Affine => {
            planner.parameters_alone(wanted)?;
            if wanted.input {
                for chunk in planner.backward_chunks(1, 0)? {
                    planner.gradient(&chunk, true)?;
                }
            }
        }
        _ if !planner.sums_of_cells_serve_groups(wanted) => planner.by_groups(wanted)?,
        _ => planner.by_cells(wanted)?,
    }
    planner.out.steps.iter_mut().for_each(|step| step.source = Role::GradOutput);
    if wishes.part != Part::Whole {
        let serve = planner.sums_of_cells_serve_groups(wanted);
        planner.one_chunk(if serve { planner.sums_a_group() } else { 1 })?;
        // The application owns them.
        planner.out.pools[Pool::Groups as usize] = 0;
    }
    Ok(planner.out)
}

impl Planner<'_> {
    // The strategies.

    /// Whether sums over cells give those over groups: where cells lie within groups, and the weight meets the same
    /// normalized values, unrounded, that variance moves with.
    fn sums_of_cells_serve_groups(&self, wanted: Wanted) -> bool {
        let nested = !matches!(self.plan.affine.cells.nesting, Nesting::Across(_));
        nested && wanted.parameters() && !self.plan.rounds_normalized()
    }

    /// Sums of groups, and others of cells.
    fn by_groups(&mut self, wanted: Wanted) -> Result<()> {
        let chunks = self.backward_chunks(1, 1)?;
        let beside = self.summing_beside_gradient(wanted).filter(|_| chunks.len() == 1);
        if beside.is_none() {
            self.parameters_alone(wanted)?;
        }
        for chunk in &chunks {
            self.sum(&self.summing_groups(), chunk, Pool::Groups)?;
            self.through_statistics(chunk, wanted)?;
            if wanted.input && beside.is_none() {
                self.gradient(chunk, false)?;
            }
        }
        beside.map_or(Ok(()), |summing| self.parameters_from(&summing, wanted))
    }

    /// Sums of cells give those of groups and those of parameters.
    fn by_cells(&mut self, wanted: Wanted) -> Result<()> {
        let (view, Cells { view: cells, nesting }) = (self.plan.view, self.plan.affine.cells);
        let a_step = (cells.a / view.a).max(1) as u64;
        let summing = self.summing_cells();
        // Groups of one row of parameters may be cut anywhere.
        let granule = if self.period() >= view.a as u64 { 1 } else { self.period() };
        let chunks = self.backward_chunks(granule, self.sums_a_group())?;
        let several = chunks.len() > 1;
        for chunk in chunks {
            let part = if several {
                Box4::whole(cells).with(0, chunk.from[0] * a_step, chunk.to[0] * a_step)
            } else {
                Box4::whole(cells)
            };
            let is_one_each = nesting == Nesting::Equal && !several && self.cells_are_parameters(&part, wanted);
            if is_one_each && self.wishes.beside && self.partials_fit(&summing, &part) {
                self.parameters_and_groups(&summing, &part, wanted)?;
            } else {
                let sums = self.sum_cells(&summing, &part, Pool::Partials)?;
                self.parameters_of_cells(&part, sums, wanted, several);
                if let Some(joined) = self.joined_by_teams(sums.each, wanted) {
                    self.collect_to_gradient(&chunk, &part, sums, joined)?;
                    continue;
                }
                self.groups_of_cells(&part, sums, chunk.groups(), nesting);
            }
            self.through_statistics(&chunk, wanted)?;
            if wanted.input {
                self.gradient(&chunk, false)?;
            }
        }
        self.parameters_of_carry(wanted, several);
        Ok(())
    }

    // The steps.

    /// The input's gradient, from the sums of groups or, where the statistics are given, without.
    fn gradient(&mut self, chunk: &Chunk, given: bool) -> Result<()> {
        let writers = Writers { rows: Kernel::Gradient, columns: Kernel::GradientColumns, flat: Kernel::GradientFlat };
        self.out.reserve(Pool::Groups, PAIR);
        self.write(chunk, writers, &|planner, variant, row| planner.writing_gradients(variant, row), &|step| {
            step.constants.given = given.then_some(true);
        })
    }

    /// How each team that writes a group's gradients joins its sums itself, of cells that have so many each: where nobody
    /// else needs them, and in the order in which others would collect them, so halves of a pass have its bits.
    fn joined_by_teams(&self, a_cell: u64, wanted: Wanted) -> Option<Joined> {
        let cells = match self.plan.affine.cells.nesting {
            Nesting::Equal => 1,
            Nesting::Neighbours(n) => n as u64,
            Nesting::Repeated(_) | Nesting::Across(_) => return None,
        };
        let are_wanted = !wanted.input || self.wishes.moments || self.plan.source.mixing().is_some();
        let is_whole = self.wishes.part == Part::Whole && !self.has_second_sums();
        // Each cell has one weight, whichever its place. Of several cells in parts each has to be collected first.
        let one_weight = self.parameter_step(self.plan.view.d as u64, false) != Some(1);
        let one_level = cells == 1 || a_cell == 1;
        let fits = self.parameters_fit(&Box4::whole(self.plan.view));
        let count = cells * a_cell;
        let lanes = self.device.team_to_collect(count, true);
        let is_served = is_whole && !are_wanted && one_weight && one_level && fits;
        (is_served && self.team_joins(count, lanes)).then_some(Joined { count, lanes })
    }

    /// The input's gradient from the sums of a chunk's cells.
    fn collect_to_gradient(&mut self, chunk: &Chunk, part: &Box4, sums: SumsOfCells, joined: Joined) -> Result<()> {
        let len = (self.plan.affine.map.len as u64).max(1);
        let origin = part.statistics(sums.cells).start % len;
        let slots = |planner: &Planner<'_>, variant, row| planner.writing_gradients(variant, row);
        self.write_rows(chunk, Kernel::CollectGradient, &slots, &|step| {
            step.partials = sums.pool;
            step.constants.collecting = Some(joined.lanes);
            (step.task.partials, step.task.sums_count) = (low(sums.each), low(joined.count));
            (step.task.sums_origin, step.task.sums_len) = (low(origin), low(len));
            step.parameters = 0..len;
        })
    }

    /// Of cells each of which has a parameter of its own, and is a group, which takes its sum by the weight.
    fn parameters_and_groups(&mut self, summing: &Summing, part: &Box4, wanted: Wanted) -> Result<()> {
        self.out.reserve(Pool::Groups, part.groups() * PAIR);
        self.sum_parts(summing, part, Pool::Cells)?;
        let step = self.collect(self.collected(wanted), Strided::neighbours(part.groups(), summing.partials.count));
        step.partials = Pool::Cells;
        step.variant.terms = Some(Terms::Channels);
        self.weighs_terms();
        Ok(())
    }

    /// Sums of so many groups from those of cells, each times its weight.
    fn groups_of_cells(&mut self, part: &Box4, sums: SumsOfCells, items: u64, nesting: Nesting) {
        if sums.each > 1 {
            self.out.reserve(Pool::Cells, part.groups() * PAIR);
            let step = self.collect(Collected::Sums, Strided::neighbours(part.groups(), sums.each));
            (step.partials, step.sums) = (sums.pool, Pool::Cells);
        }
        let strided = match nesting {
            Nesting::Neighbours(n) => Strided::neighbours(items, n as u64),
            Nesting::Repeated(n) => {
                let n = n as u64;
                Strided { items, inner: n, outer: 0, stride: n, run: 1, count: part.groups() / n.max(1) }
            }
            Nesting::Equal | Nesting::Across(_) => Strided::neighbours(items, 1),
        };
        self.out.reserve(Pool::Groups, items * PAIR);
        let len = (self.plan.affine.map.len as u64).max(1);
        let origin = part.statistics(self.plan.affine.cells.view).start % len;
        let step = self.collect(Collected::Sums, strided);
        (step.partials, step.sums) = (if sums.each > 1 { Pool::Cells } else { sums.pool }, Pool::Groups);
        (step.task.sums_origin, step.task.sums_len) = (low(origin), low(len));
        self.weighs_terms();
    }

    /// Has the last step, which collects, know the weight.
    fn weighs_terms(&mut self) {
        if !self.plan.has_weight() {
            return;
        }
        let derived = self.plan.derivation.is_some();
        let parameter = Parameter::one_by_one(self.plan.parameter_dtype());
        let zero_centred = self.plan.adds_one();
        let len = self.plan.affine.map.len as u64;
        let Some(step) = self.out.steps.last_mut() else { return };
        step.constants.parameter_step = Some(0);
        step.constants.zero_centred = zero_centred.then_some(true);
        step.variant.affine = Some(if derived { AffineSlot::Prepared } else { AffineSlot::Scale });
        if !derived {
            step.variant.parameter = Some(parameter);
            step.parameters = 0..len;
        }
    }

    pub(super) fn collect(&mut self, collected: Collected, strided: Strided) -> &mut Step {
        let mut variant = Variant::new(Kernel::Collect);
        variant.collected = Some(collected);
        variant.terms = Some(Terms::All);
        variant.affine = Some(AffineSlot::None);
        let are_neighbours = strided.stride == 1 || strided.run > 1;
        let team = self.device.team_to_collect(strided.count, are_neighbours);
        let step = self.of_items(variant, team, strided.items);
        step.task.sums_inner = low(strided.inner.max(1));
        step.task.sums_outer = low(strided.outer);
        step.task.sums_stride = low(strided.stride);
        step.task.partials = low(strided.run);
        step.task.sums_count = low(strided.count);
        step
    }

    // What the steps have in common.

    /// The parameters of the elements of a view of cells, which are `cell % len`.
    pub(super) fn map_of_cells(&self) -> ParameterMap {
        let (View { c, .. }, len) = (self.plan.affine.cells.view, self.plan.affine.map.len);
        let map = ParameterMap::constant(len);
        if c == 1 {
            ParameterMap { a_modulus: len.max(1), a_scale: 1, ..map }
        } else if c == len {
            ParameterMap { c_scale: 1, ..map }
        } else {
            ParameterMap { a_modulus: (len / c).max(1), a_scale: c, c_scale: 1, ..map }
        }
    }

    /// Steps of `a` of the plan's view after which the parameters of cells begin again.
    pub(super) fn period(&self) -> u64 {
        let (view, cells) = (self.plan.view, self.plan.affine.cells.view);
        let a_step = (cells.a / view.a.max(1)).max(1) as u64;
        (self.period_of(cells) / a_step).max(1)
    }

    /// The same, of a view of cells.
    pub(super) fn period_of(&self, cells: View) -> u64 {
        (self.plan.affine.map.len / cells.c.max(1)).max(1) as u64
    }

    /// Sums that a group has of its cells.
    fn sums_a_group(&self) -> u64 {
        let cells = self.plan.affine.cells.view.statistics() / self.plan.view.statistics().max(1);
        cells.max(1) as u64 * self.pairs_a_cell()
    }

    /// Groups that share scratch, of which each has so many sums there.
    fn backward_chunks(&self, granule: u64, sums: u64) -> Result<Vec<Chunk>> {
        let [_, b, c, d] = levels(self.plan.view);
        if self.plan.source.mixing().is_some() {
            // What reaches one group's statistics reaches all of them.
            return Ok(vec![Box4::whole(self.plan.view)]);
        }
        let limit = SCRATCH.min(self.device.max_binding);
        let fits = |piece: &Box4| piece.groups() * sums * PAIR <= limit && self.statistics_fit(piece);
        let needed = granule * c * (sums * PAIR).max(ENTRY);
        let pieces = Box4::whole(self.plan.view).cut([granule, b, c, d], &fits);
        pieces.ok_or_else(|| too_large("sums of the groups of one sample", needed, limit))
    }

    /// All groups together, whose sums the application owns.
    fn one_chunk(&self, sums: u64) -> Result<Chunk> {
        match self.backward_chunks(self.period(), sums)?.as_slice() {
            [chunk] => Ok(*chunk),
            _ => {
                let needed = self.plan.view.statistics() as u64 * (sums * PAIR).max(ENTRY);
                Err(too_large("sums", needed, SCRATCH.min(self.device.max_binding)))
            }
        }
    }

    /// Whether the statistics of a box of groups fit one binding.
    pub(super) fn statistics_fit(&self, piece: &Box4) -> bool {
        self.entries_fit(&piece.statistics(self.plan.view))
    }

    pub(super) fn entries_fit(&self, statistics: &Range<u64>) -> bool {
        (statistics.end - statistics.start) * ENTRY + SLACK <= self.device.max_binding
    }
}
