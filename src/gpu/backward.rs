//! The dispatches that a plan's backward pass comes down to on a device.
//!
//! ```text
//! groups fit registers        resident_gradient or resident_gradient_columns ─ collect ─ parameters
//! cells are groups            sums of parts ─ collect ─┬─ parameters
//!                                                      └─ sums of groups ─ gradient
//! cells lie within groups     sums of cells ─┬─ collect ─ parameters
//!                                            └─ collect ─ sums of groups ─ gradient
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

/// Sums that lie a stride apart: result `j` begins at `j / inner * outer + j % inner`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strided {
    pub(super) items: u64,
    pub(super) inner: u64,
    pub(super) outer: u64,
    pub(super) stride: u64,
    pub(super) count: u64,
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
                for chunk in planner.backward_chunks(1)? {
                    planner.gradient(&chunk, true)?;
                }
            }
        }
        _ if !planner.sums_of_cells_serve_groups(wanted) => {
            planner.parameters_alone(wanted)?;
            for chunk in planner.backward_chunks(1)? {
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
        let chunks = self.backward_chunks(self.period())?;
        let several = chunks.len() > 1;
        let summing = self.summing_cells();
        for chunk in chunks {
            let part = if several {
                Box4::whole(cells).with(0, chunk.from[0] * a_step, chunk.to[0] * a_step)
            } else {
                Box4::whole(cells)
            };
            if self.wishes.beside
                && nesting == Nesting::Equal
                && !several
                && self.cells_are_parameters(&summing, &part, wanted)
            {
                self.parameters_and_groups(&summing, &part, wanted)?;
            } else {
                self.sum(&summing, &part, Pool::Cells)?;
                self.parameters_of_cells(&part, cells, wanted, several);
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
        let cells = self.plan.affine.cells;
        let summing = self.summing_cells();
        let whole = Box4::whole(cells.view);
        if self.cells_are_parameters(&summing, &whole, wanted) {
            return self.parameters_of_parts(&summing, &whole, wanted);
        }
        let entries = |piece: &Box4| piece.groups() * PAIR <= SCRATCH.min(self.device.max_binding);
        let [_, b, c, d] = levels(cells.view);
        let pieces = self.cut(whole, [self.period_of(cells.view), b, c, d], &entries)?;
        let several = pieces.len() > 1;
        for piece in &pieces {
            self.sum(&summing, piece, Pool::Cells)?;
            self.parameters_of_cells(piece, cells.view, wanted, several);
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

    /// Whether each parameter belongs to one cell of a box, whose parts fit scratch at once: these are collected then to
    /// where they are wanted, without sums of cells between.
    fn cells_are_parameters(&self, summing: &Summing, part: &Box4, wanted: Wanted) -> bool {
        let one_each = part.groups() == self.plan.affine.map.len as u64;
        let are_callers = (wanted.weight || wanted.bias) && self.plan.derivation.is_none();
        one_each && are_callers && self.partials_fit(summing, part)
    }

    /// Of cells each of which has a parameter of its own.
    fn parameters_of_parts(&mut self, summing: &Summing, part: &Box4, wanted: Wanted) -> Result<()> {
        if let Some(straight) = summing.straight_to(self.collected(wanted)).filter(|_| self.wishes.beside) {
            return self.add_up(&straight, part, Pool::Cells);
        }
        self.collected_parts(summing, part, wanted)?;
        Ok(())
    }

    /// The same where each cell is a group as well, which takes its sum by the weight.
    fn parameters_and_groups(&mut self, summing: &Summing, part: &Box4, wanted: Wanted) -> Result<()> {
        self.out.reserve(Pool::Groups, part.groups() * PAIR);
        self.collected_parts(summing, part, wanted)?.variant.terms = Some(Terms::Channels);
        self.weighs_terms();
        Ok(())
    }

    /// Parts are not summed where groups' are, so that nobody waits for both.
    fn collected_parts(&mut self, summing: &Summing, part: &Box4, wanted: Wanted) -> Result<&mut Step> {
        self.sum_parts(summing, part, Pool::Cells)?;
        let step = self.collect(self.collected(wanted), summing.terms(part.groups()));
        step.partials = Pool::Cells;
        Ok(step)
    }

    /// From cells, whose parameter is `cell % len`. `part` begins at a multiple of that.
    pub(super) fn parameters_of_cells(&mut self, part: &Box4, cells: View, wanted: Wanted, several: bool) {
        let len = self.plan.affine.map.len as u64;
        let (c, first) = (cells.c as u64, part.statistics(cells).start % len);
        let here = part.groups();
        let items = here.min(len);
        let strided = Strided { items, inner: items, outer: 0, stride: items, count: here / items };
        let is_first = part.from[0] * c / len == 0 || items < len;
        self.parameters(strided, wanted, several.then_some((first, is_first)));
        if self.has_second_sums() {
            self.parameters(strided, wanted, Some((len + first, is_first)));
            if let Some(step) = self.out.steps.last_mut() {
                step.task.terms_origin = low(here);
            }
        }
    }

    /// From blocks of groups, each with a sum for every place of a group.
    pub(super) fn parameters_of_blocks(&mut self, piece: &Box4, blocks: [u64; 2], wanted: Wanted, several: bool) {
        let places = self.plan.view.count() as u64;
        let all = blocks[0] * blocks[1];
        if self.plan.affine.map.a_scale == 0 {
            let strided = Strided { items: places, inner: places, outer: 0, stride: places, count: all };
            let is_first = piece.from[0] == 0 && piece.from[2] == 0;
            self.parameters(strided, wanted, several.then_some((0, is_first)));
        } else {
            // A row of parameters for each step of a.
            let items = piece.extent(0) * places;
            let strided = Strided { items, inner: places, outer: blocks[1] * places, stride: places, count: blocks[1] };
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
        let strided = Strided { items: len, inner: len, outer: 0, stride: len, count: 1 };
        let step = self.collect(self.collected(wanted), strided);
        step.partials = Pool::Carry;
    }

    fn collected(&self, wanted: Wanted) -> Collected {
        Collected::of(wanted.weight, wanted.bias, self.plan.parameter_dtype())
    }

    /// Sums of so many groups from those of cells, each times its weight.
    fn groups_of_cells(&mut self, part: &Box4, items: u64, nesting: Nesting) {
        let strided = match nesting {
            Nesting::Neighbours(n) => {
                let n = n as u64;
                Strided { items, inner: 1, outer: n, stride: 1, count: n }
            }
            Nesting::Repeated(n) => {
                let n = n as u64;
                Strided { items, inner: n, outer: 0, stride: n, count: part.groups() / n.max(1) }
            }
            Nesting::Equal | Nesting::Across(_) => Strided { items, inner: 1, outer: 1, stride: 1, count: 1 },
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

    fn backward_chunks(&self, granule: u64) -> Result<Vec<Chunk>> {
        let [_, b, c, d] = levels(self.plan.view);
        let cells = self.plan.affine.cells.view;
        if self.plan.source.mixing().is_some() {
            // What reaches one group's statistics reaches all of them.
            return Ok(vec![Box4::whole(self.plan.view)]);
        }
        let entries = (cells.statistics() / self.plan.view.statistics().max(1)).max(1) as u64;
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
        match self.backward_chunks(self.period())?.as_slice() {
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
