//! The dispatches that a plan's backward pass comes down to on a device.
//!
//! ```text
//! groups fit registers        resident_gradient or resident_gradient_columns ─ collect ─ parameters
//! cells are groups            sums of parts ─ collect ─┬─ parameters
//!                                                      └─ sums of groups ─ gradient
//! cells lie within groups     sums of cells ─┬─ collect ─ parameters
//!                                            └─ collect ─ sums of groups ─ gradient
//! there, few sums a group     sums of parts ─┬─ collect ─ parameters
//!                                            └─ collect_gradient
//! cells lie across groups     sums of cells ─ collect ─ parameters;  sums of groups ─ gradient
//! statistics are given        sums of cells ─ collect ─ parameters;  gradient
//! there, columns of few rows  sums of cells, which are the gradients of parameters
//! ```

use super::boxes::{Box4, levels};
use super::capabilities::Capabilities;
use super::options::Part;
use super::planner::{Chunk, ENTRY, Ground, Planner, Pool, Role, SCRATCH, Schedule, Step, Wishes, check_levels, low};
use super::slots::{AffineSlot, Collected, Kernel, Parameter, Terms};
use super::strategy::Strategy;
use super::sums::Summing;
use super::variant::Variant;
use super::writing::Writers;
use crate::error::{Error, Result};
use crate::plan::{Cells, Nesting, ParameterMap, Plan, View, Wanted};
use std::ops::Range;

/// Bytes of one pair of sums.
pub(super) const PAIR: u64 = 8;
/// Bytes that a binding of statistics may begin before the first one meant.
const SLACK: u64 = 512;

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
    fn rows_of_runs(items: u64, run: u64, rows: u64) -> Self {
        Self { items, inner: 1, outer: run, stride: items * run, run, count: rows * run }
    }
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
        _ if wishes.part == Part::Apply => planner.gradient(&planner.one_chunk()?, false)?,
        Strategy::Resident => planner.whole_groups_backward(wanted)?,
        Strategy::Affine => {
            planner.parameters_alone(wanted)?;
            if wanted.input {
                for chunk in planner.backward_chunks(1, 1)? {
                    planner.gradient(&chunk, true)?;
                }
            }
        }
        _ if !planner.sums_of_cells_serve_groups(wanted) => {
            planner.parameters_alone(wanted)?;
            for chunk in planner.backward_chunks(1, 1)? {
                planner.sum(&planner.summing_groups(), &chunk, Pool::Groups)?;
                planner.through_statistics(&chunk, wanted)?;
                if wanted.input {
                    planner.gradient(&chunk, false)?;
                }
            }
        }
        _ => planner.by_cells(wanted)?,
    }
    planner.out.steps.iter_mut().for_each(|step| step.source = Role::GradOutput);
    if wishes.part != Part::Whole {
        planner.one_chunk()?;
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

    /// Sums of cells give those of groups and those of parameters.
    fn by_cells(&mut self, wanted: Wanted) -> Result<()> {
        let (view, Cells { view: cells, nesting }) = (self.plan.view, self.plan.affine.cells);
        let a_step = (cells.a / view.a).max(1) as u64;
        let summing = self.summing_cells();
        let sums = summing.partials.count;
        let few = self.sums_a_team_joins(&summing, wanted);
        let chunks = self.backward_chunks(self.period(), few.map_or(1, |_| sums))?;
        let several = chunks.len() > 1;
        for chunk in chunks {
            let part = if several {
                Box4::whole(cells).with(0, chunk.from[0] * a_step, chunk.to[0] * a_step)
            } else {
                Box4::whole(cells)
            };
            if let Some(of_group) = few {
                self.sum_parts(&summing, &part, Pool::Cells)?;
                self.parameters_of_cells(&part, (cells, sums), wanted, several);
                self.collect_to_gradient(&chunk, &part, [sums, of_group])?;
                continue;
            }
            let is_one_each = nesting == Nesting::Equal && self.cells_are_parameters(&summing, &part, wanted);
            if self.wishes.beside && is_one_each && !several {
                self.parameters_and_groups(&summing, &part, wanted)?;
            } else {
                self.sum(&summing, &part, Pool::Cells)?;
                self.parameters_of_cells(&part, (cells, 1), wanted, several);
                self.groups_of_cells(&part, chunk.groups(), nesting);
            }
            self.through_statistics(&chunk, wanted)?;
            if wanted.input {
                self.gradient(&chunk, false)?;
            }
        }
        self.parameters_of_carry(wanted, several);
        Ok(())
    }

    /// The parameters' gradients, read for on their own.
    pub(super) fn parameters_alone(&mut self, wanted: Wanted) -> Result<()> {
        if !wanted.parameters() {
            return Ok(());
        }
        let cells = self.plan.affine.cells.view;
        let summing = self.summing_cells();
        let whole = Box4::whole(cells);
        if self.wishes.beside
            && self.cells_are_parameters(&summing, &whole, wanted)
            && let Some(straight) = summing.straight_to(self.collected(wanted))
        {
            return self.add_up(&straight, &whole, Pool::Cells);
        }
        let [_, b, c, d] = levels(cells);
        let granule = [self.period_of(cells), b, c, d];
        let parts = whole.cut(granule, &|piece| self.partials_fit(&summing, piece));
        let sums = if parts.is_some() { summing.partials.count } else { 1 };
        let entries = |piece: &Box4| piece.groups() * PAIR <= SCRATCH.min(self.device.max_binding);
        let pieces = parts.map_or_else(|| self.cut(whole, granule, &entries), Ok)?;
        let several = pieces.len() > 1;
        for piece in &pieces {
            if sums == 1 {
                self.sum(&summing, piece, Pool::Cells)?;
            } else {
                self.sum_parts(&summing, piece, Pool::Cells)?;
            }
            self.parameters_of_cells(piece, (cells, sums), wanted, several);
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

    /// The sums that a group's come from, where nobody else needs these, and each team that writes its gradients joins
    /// them itself.
    fn sums_a_team_joins(&self, summing: &Summing, wanted: Wanted) -> Option<u64> {
        let cells = match self.plan.affine.cells.nesting {
            Nesting::Equal => 1,
            Nesting::Neighbours(n) => n as u64,
            Nesting::Repeated(_) | Nesting::Across(_) => return None,
        };
        let are_wanted = !wanted.input || self.wishes.moments || self.plan.source.mixing().is_some();
        let is_whole = self.wishes.part == Part::Whole && !self.has_second_sums();
        // Each cell has one weight, whichever its place.
        let one_each = self.parameter_step(self.plan.view.d as u64, false) != Some(1);
        let sums = cells * summing.partials.count;
        let whole = self.parameters_fit(&Box4::whole(self.plan.view));
        (is_whole && !are_wanted && one_each && whole && self.team_joins(sums)).then_some(sums)
    }

    /// The input's gradient from the sums of a chunk's cells: so many a cell, and so many a group.
    fn collect_to_gradient(&mut self, chunk: &Chunk, part: &Box4, [of_cell, of_group]: [u64; 2]) -> Result<()> {
        let len = (self.plan.affine.map.len as u64).max(1);
        let origin = part.statistics(self.plan.affine.cells.view).start % len;
        let slots = |planner: &Planner<'_>, variant, row| planner.writing_gradients(variant, row);
        self.write_rows(chunk, Kernel::CollectGradient, &slots, &|step| {
            step.partials = Pool::Cells;
            (step.task.partials, step.task.sums_count) = (low(of_cell), low(of_group));
            (step.task.sums_origin, step.task.sums_len) = (low(origin), low(len));
            step.parameters = 0..len;
        })
    }

    /// Whether each of the caller's parameters belongs to one cell of a box, whose parts fit scratch at once.
    fn cells_are_parameters(&self, summing: &Summing, part: &Box4, wanted: Wanted) -> bool {
        let one_each = part.groups() == self.plan.affine.map.len as u64;
        let are_callers = (wanted.weight || wanted.bias) && self.plan.derivation.is_none();
        one_each && are_callers && self.partials_fit(summing, part)
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

    /// From cells, each so many sums, whose parameter is `cell % len`. `part` begins at a multiple of that.
    pub(super) fn parameters_of_cells(
        &mut self,
        part: &Box4,
        (cells, sums): (View, u64),
        wanted: Wanted,
        several: bool,
    ) {
        let len = self.plan.affine.map.len as u64;
        let (c, first) = (cells.c as u64, part.statistics(cells).start % len);
        let here = part.groups();
        let items = here.min(len);
        let strided = Strided::rows_of_runs(items, sums, here / items);
        let is_first = part.from[0] * c / len == 0 || items < len;
        self.parameters(strided, wanted, several.then_some((first, is_first)));
        if self.has_second_sums() {
            self.parameters(strided, wanted, Some((len + first, is_first)));
            if let Some(step) = self.out.steps.last_mut() {
                step.task.terms_origin = low(here * sums);
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
            self.parameters(strided, wanted, several.then_some((0, is_first)));
        } else {
            // A row of parameters for each step of a.
            let items = piece.extent(0) * places;
            let outer = blocks[1] * places;
            let strided = Strided { items, inner: places, outer, stride: places, run: 1, count: blocks[1] };
            let carry = (piece.from[0] * places, piece.from[2] == 0);
            self.parameters(strided, wanted, several.then_some(carry));
        }
    }

    /// Collects from the pool of cells: to the gradients, or, where more is to come, to the carry.
    fn parameters(&mut self, strided: Strided, wanted: Wanted, carry: Option<(u64, bool)>) {
        let carry = carry.or(self.plan.derivation.map(|_| (0, true)));
        let Some((origin, is_first)) = carry else {
            if wanted.weight || wanted.bias {
                let step = self.collect(self.collected(wanted), strided);
                step.partials = Pool::Cells;
            }
            return;
        };
        let halves = if self.has_second_sums() { 2 } else { 1 };
        self.out.reserve(Pool::Carry, halves * self.plan.affine.map.len as u64 * PAIR);
        let step = self.collect(Collected::Sums, strided);
        (step.partials, step.sums) = (Pool::Cells, Pool::Carry);
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

    fn collected(&self, wanted: Wanted) -> Collected {
        Collected::of(wanted.weight, wanted.bias, self.plan.parameter_dtype())
    }

    /// Sums of so many groups from those of cells, each times its weight.
    fn groups_of_cells(&mut self, part: &Box4, items: u64, nesting: Nesting) {
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
        (step.partials, step.sums) = (Pool::Cells, Pool::Groups);
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
        let zero_centred = self.plan.epilogue.zero_centred_weight;
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
        let point = Box4 { from: [0; 4], to: [1; 4] };
        let ground = Ground { view: View::new(1, 1, 1, 1), map: ParameterMap::constant(1) };
        let mut task = self.task(ground, &point, &point);
        task.items = low(strided.items);
        task.sums_inner = low(strided.inner.max(1));
        task.sums_outer = low(strided.outer);
        task.sums_stride = low(strided.stride);
        task.partials = low(strided.run);
        task.sums_count = low(strided.count);
        let mut variant = Variant::new(Kernel::Collect);
        variant.collected = Some(collected);
        variant.terms = Some(Terms::All);
        variant.affine = Some(AffineSlot::None);
        let team = self.device.team_to_collect(strided.count, strided.stride == 1);
        self.push(ground, variant, team, task, &point, &point, None)
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
    fn period_of(&self, cells: View) -> u64 {
        (self.plan.affine.map.len / cells.c.max(1)).max(1) as u64
    }

    /// Chunks whose cells, each so many sums, fit scratch.
    fn backward_chunks(&self, granule: u64, sums: u64) -> Result<Vec<Chunk>> {
        let [_, b, c, d] = levels(self.plan.view);
        let cells = self.plan.affine.cells.view;
        if self.plan.source.mixing().is_some() {
            // What reaches one group's statistics reaches all of them.
            return Ok(vec![Box4::whole(self.plan.view)]);
        }
        let entries = (cells.statistics() / self.plan.view.statistics().max(1)).max(1) as u64 * sums;
        let limit = SCRATCH.min(self.device.max_binding);
        let fits = |piece: &Box4| piece.groups() * entries * PAIR <= limit && self.statistics_fit(piece);
        Box4::whole(self.plan.view).cut([granule, b, c, d], &fits).ok_or(Error::TooLarge {
            argument: "sums of the groups of one sample",
            needed: granule * c * entries * PAIR,
            limit,
            limit_name: "scratch of one dispatch",
        })
    }

    /// All groups together, whose sums the application owns.
    fn one_chunk(&self) -> Result<Chunk> {
        match self.backward_chunks(self.period(), 1)?.as_slice() {
            [chunk] => Ok(*chunk),
            _ => Err(Error::TooLarge {
                argument: "sums",
                needed: self.plan.view.statistics() as u64 * PAIR,
                limit: SCRATCH.min(self.device.max_binding),
                limit_name: "scratch of one dispatch",
            }),
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
