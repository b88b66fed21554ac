//! The dispatches that a plan's forward pass comes down to on a device: pure data, made once a shape.

use super::boxes::{Box4, levels};
use super::capabilities::Capabilities;
use super::options::Part;
use super::partials::{Columns, Partials};
use super::planner::{
    Chunk, ENTRY, Planner, Pool, SCRATCH, Schedule, Wishes, low, real, set_partials, single, too_large,
};
use super::role::Role;
use super::slots::{Kernel, Known, MomentumSlot, Placement, Registers, Residual, Saved};
use super::strategy::{Strategy, rows_share_words};
use super::variant::Variant;
use super::writing::Writers;
use crate::error::Result;
use crate::plan::{Momentum, Plan, RunningUpdate, Source};

/// Partials that a lane of the kernel which merges and applies merges before it meets others.
const MERGED_A_LANE: u64 = 4;

/// The schedule of a plan.
pub(crate) fn schedule(plan: &Plan, device: &Capabilities, wishes: Wishes) -> Result<Schedule> {
    let mut planner = Planner::new(plan, device, wishes)?;
    // Where the share of a batch follows from the number, every workgroup has to read the new one; and where a batch is
    // empty, there is no workgroup that would count it by the way.
    let is_empty = plan.view.elements() == 0;
    let counts_first = |u: RunningUpdate| u.counter && (is_empty || u.momentum == Momentum::Cumulative);
    if wishes.part == Part::Whole && plan.running_update().is_some_and(counts_first) {
        planner.counter();
    }
    if is_empty {
        return Ok(planner.out);
    }
    if planner.normalized() == Role::Sum {
        planner.add()?;
    }
    planner.prepare()?;
    match (plan.source.mixing(), wishes.strategy) {
        _ if wishes.part != Part::Whole => planner.half()?,
        (Some(mixing), _) => planner.mixed(mixing)?,
        (None, Strategy::Resident | Strategy::Streaming) => planner.whole_groups()?,
        (None, Strategy::Split | Strategy::Column | Strategy::Affine) => planner.by_chunks()?,
    }
    if wishes.moments {
        planner.publish()?;
    }
    let source = planner.normalized();
    planner
        .out
        .steps
        .iter_mut()
        .filter(|step| step.variant.kernel != Kernel::Add)
        .for_each(|step| step.source = source);
    Ok(planner.out)
}

impl Planner<'_> {
    // The strategies.

    /// Split, column and affine: statistics first, chunk by chunk so that the scratch stays small.
    fn by_chunks(&mut self) -> Result<()> {
        for chunk in self.chunks()? {
            if self.merges_to_apply() {
                let partials = Partials::of_groups(self.plan, self.device);
                self.split(&chunk, &partials)?;
                self.merge_and_apply(&chunk, &partials)?;
                continue;
            }
            self.statistics(&chunk)?;
            self.apply(&chunk)?;
            if self.tracked().is_none() {
                self.running(&chunk);
            }
        }
        Ok(())
    }

    /// Whether the apply step merges partials itself, where nobody else needs what they come to.
    fn merges_to_apply(&self) -> bool {
        let are_wanted = self.plan.running_update().is_some() || self.wishes.moments;
        let is_whole = self.wishes.strategy == Strategy::Split && self.wishes.part == Part::Whole;
        let partials = Partials::of_groups(self.plan, self.device);
        // Where each has a lane of the merge kernel, moments meet in the same order.
        let in_order = partials.count <= u64::from(partials.team);
        let lanes = u32::try_from(partials.count.div_ceil(MERGED_A_LANE)).unwrap_or(u32::MAX);
        is_whole && !are_wanted && in_order && self.wishes.beside && self.team_joins(partials.count, lanes)
    }

    /// Statistics or what follows them.
    fn half(&mut self) -> Result<()> {
        for chunk in self.chunks()? {
            if self.wishes.part == Part::Reduce {
                self.statistics(&chunk)?;
            } else {
                self.apply(&chunk)?;
            }
        }
        Ok(())
    }

    pub(super) fn chunks(&mut self) -> Result<Vec<Chunk>> {
        if self.known() == Known::Estimates {
            return Ok(vec![Box4::whole(self.plan.view)]);
        }
        let [_, b, c, d] = levels(self.plan.view);
        let partials = match self.wishes.strategy {
            Strategy::Column => Some(Partials::of_columns(self.plan, self.device).count),
            Strategy::Split => Some(Partials::of_groups(self.plan, self.device).count),
            Strategy::Resident | Strategy::Streaming | Strategy::Affine => None,
        };
        let entries = partials.unwrap_or(1);
        let scratch = SCRATCH.min(self.device.max_binding);
        let whole = Box4::whole(self.plan.view);
        let within = |piece: &Box4, scratch: u64| {
            let binds_callers = self.wishes.saves || self.wishes.part != Part::Whole;
            piece.groups() * entries * ENTRY <= scratch && (!binds_callers || self.statistics_fit(piece))
        };
        let mut granule = [1, b, 4.min(c), d];
        if let Some(update) = self.plan.running_update() {
            // A dispatch of the running kernel takes whole samples, or, where there is one, some channels.
            let channels = update.channels as u64;
            if channels < self.plan.view.statistics() as u64 {
                granule = [channels / c, b, c, d];
            }
        }
        let needed = granule[0] * granule[2] * entries * ENTRY;
        // What is written word by word takes whole rows of memory: of some channels each row would be a dispatch.
        let row = if self.applies_by_columns() { c * d } else { d };
        let of_rows = rows_share_words(self.plan, row, self.device).then(|| {
            let granule = [granule[0], b, c, d];
            whole.cut(granule, &|piece| within(piece, self.device.max_binding))
        });
        let chunks = of_rows.flatten().or_else(|| whole.cut(granule, &|piece| within(piece, scratch)));
        let chunks = chunks.ok_or_else(|| too_large("statistics of one sample", needed, scratch))?;
        let most = chunks.iter().map(|c| c.groups()).max().unwrap_or(0);
        let are_scratch = !self.wishes.saves && !self.merges_to_apply();
        self.out.statistics_bytes = if are_scratch { most * ENTRY } else { 0 };
        self.out.reserve(Pool::Partials, partials.map_or(0, |count| most * count * ENTRY));
        Ok(chunks)
    }

    // The steps of a chunk.

    pub(super) fn statistics(&mut self, chunk: &Chunk) -> Result<()> {
        match self.wishes.strategy {
            Strategy::Affine => {
                match (&self.plan.source, self.known()) {
                    (Source::Nothing, _) => self.nothing(chunk),
                    (_, Known::Statistics) => self.given(chunk),
                    (_, Known::Estimates) => {}
                }
                Ok(())
            }
            Strategy::Column => {
                let partials = Partials::of_columns(self.plan, self.device);
                self.column(chunk, &partials)?;
                self.merge(chunk, &partials);
                Ok(())
            }
            _ => {
                let partials = Partials::of_groups(self.plan, self.device);
                self.split(chunk, &partials)?;
                self.merge(chunk, &partials);
                Ok(())
            }
        }
    }

    fn split(&mut self, chunk: &Chunk, partials: &Partials) -> Result<()> {
        let d = self.plan.view.d as u64;
        let mut variant = Variant::new(Kernel::Split);
        variant.element = Some(self.element(d));
        variant.placement = Some(Placement::Apart);
        variant.moment = Some(self.moment());
        variant.lanes = Some(self.lanes(partials.team));
        let fits = |piece: &Box4| self.window_fits(self.plan.view, piece);
        for piece in self.cut(*chunk, [1, partials.rows, 1, partials.segment], &fits)? {
            let mut task = self.task(self.ground(), &piece, chunk);
            set_partials(&mut task, partials);
            task.origin[1] = low(piece.from[1] / partials.rows);
            task.extent[1] = low(piece.extent(1).div_ceil(partials.rows));
            task.origin[3] = low(piece.from[3] / partials.segment);
            task.extent[3] = low(piece.extent(3).div_ceil(partials.segment));
            task.items = task.extent.iter().product();
            self.push(self.ground(), variant, partials.team, task, &piece, chunk, None);
        }
        Ok(())
    }

    fn column(&mut self, chunk: &Chunk, partials: &Partials) -> Result<()> {
        let [_, _, c, d] = levels(self.plan.view);
        let mut variant = Variant::new(Kernel::Column);
        variant.element = Some(self.element(c * d));
        variant.placement = Some(Placement::Apart);
        variant.moment = Some(self.moment());
        let columns = Columns::to_sum(self.plan.view, partials, self.device);
        variant.registers = Registers::holding(columns.packs);
        let fits = |piece: &Box4| self.window_fits(self.plan.view, piece);
        for piece in self.cut(*chunk, [1, partials.rows, 4.min(c), d], &fits)? {
            let mut task = self.task(self.ground(), &piece, chunk);
            set_partials(&mut task, partials);
            columns.deal(&mut task, &piece, d);
            let step = self.push(self.ground(), variant, columns.team, task, &piece, chunk, None);
            step.shares_columns(columns.shared_columns());
        }
        Ok(())
    }

    fn merge(&mut self, chunk: &Chunk, partials: &Partials) {
        let mut task = self.task(self.ground(), chunk, chunk);
        set_partials(&mut task, partials);
        task.items = low(chunk.groups());
        let mut variant = Variant::new(Kernel::Merge);
        variant.lanes = Some(self.lanes(partials.team));
        variant.epsilon = Some(self.epsilon());
        variant.tracks(self.tracked());
        task.channel_origin = low(self.first_statistic(chunk));
        self.push(self.ground(), variant, partials.team, task, chunk, chunk, None);
    }

    fn given(&mut self, chunk: &Chunk) {
        let mut task = self.task(self.ground(), chunk, chunk);
        task.items = low(chunk.groups());
        let mut variant = Variant::new(Kernel::Given);
        variant.knows(Known::Estimates);
        self.push(self.ground(), variant, 1, task, chunk, chunk, None);
    }

    fn counter(&mut self) {
        self.of_items(Variant::new(Kernel::Counter), 1, 1);
    }

    pub(super) fn running(&mut self, chunk: &Chunk) {
        let Some(update) = self.plan.running_update() else { return };
        let here = chunk.groups();
        let all_samples = (self.plan.view.statistics() / update.channels) as u64;
        // Either the chunk is some of the channels of one sample, or some whole samples.
        let (channels, samples) =
            if all_samples == 1 { (here, 1) } else { (update.channels as u64, here / update.channels as u64) };
        let first_channel = self.first_statistic(chunk);
        let mut task = self.task(self.ground(), chunk, chunk);
        task.items = low(channels);
        task.samples = low(samples);
        task.channel_origin = low(if all_samples == 1 { first_channel } else { 0 });
        task.is_first_chunk = u32::from(all_samples == 1 || first_channel == 0);
        task.samples_share = single(real(samples) / real(all_samples));
        let team = self.device.team_to_collect(samples, false);
        let mut variant = Variant::new(Kernel::Running);
        variant.lanes = Some(self.lanes(team));
        variant.momentum = Some(MomentumSlot::of(update));
        self.push(self.ground(), variant, team, task, chunk, chunk, None);
    }

    pub(super) fn apply(&mut self, chunk: &Chunk) -> Result<()> {
        let writers = Writers { rows: Kernel::Affine, columns: Kernel::AffineColumns, flat: Kernel::AffineFlat };
        let slots = |planner: &Planner<'_>, variant, row| {
            let mut variant = planner.applying(variant, row);
            variant.knows(planner.known());
            variant
        };
        self.write(chunk, writers, &slots, &|_| ())
    }

    fn merge_and_apply(&mut self, chunk: &Chunk, partials: &Partials) -> Result<()> {
        let slots = |planner: &Planner<'_>, variant, row| {
            let mut variant = planner.applying(variant, row);
            variant.saved = Some(if planner.wishes.saves { Saved::Statistics } else { Saved::None });
            variant.epsilon = Some(planner.epsilon());
            variant
        };
        let count = low(partials.count);
        self.write_rows(chunk, Kernel::MergeAffine, &slots, &|step| step.task.partials = count)
    }

    /// Where the apply step finds what it normalizes by: running estimates themselves, if nobody keeps the statistics.
    fn known(&self) -> Known {
        match self.plan.source {
            Source::Running { .. } if !self.wishes.saves => Known::Estimates,
            _ => Known::Statistics,
        }
    }

    /// The running estimates that are moved where the statistics come about: of channels with one statistic each.
    pub(super) fn tracked(&self) -> Option<RunningUpdate> {
        let of_one = |u: &RunningUpdate| u.channels == self.plan.view.statistics();
        let by_the_way = match self.wishes.strategy {
            Strategy::Split | Strategy::Column => true,
            Strategy::Resident => self.wishes.beside && !self.plan.residual,
            Strategy::Streaming | Strategy::Affine => false,
        };
        let is_whole = self.wishes.part == Part::Whole && self.plan.source.mixing().is_none();
        self.plan.running_update().filter(|u| of_one(u) && by_the_way && is_whole)
    }

    /// Number of a chunk's first statistic.
    fn first_statistic(&self, chunk: &Chunk) -> u64 {
        chunk.from[0] * self.plan.view.c as u64 + chunk.from[2]
    }

    /// Input and residual become their sum, in dispatches of their own.
    fn add(&mut self) -> Result<()> {
        let view = self.plan.view;
        let whole = Box4::whole(view);
        let flat = crate::plan::View::new(1, 1, 1, view.elements());
        let ground = super::planner::Ground { view: flat, map: crate::plan::ParameterMap::constant(1) };
        let run = Box4::whole(flat);
        let mut variant = Variant::new(Kernel::Add);
        // How long rows are decides, not how many: the sum of a row has the same bits in any batch.
        let is_native = self.device.prefers_native_f16(view.d as u64);
        variant.element = Some(self.element_in(is_native, view.elements() as u64));
        variant.placement = Some(Placement::Apart);
        variant.residual = Some(self.residual());
        for piece in self.cut(run, [1, 1, 1, 4], &|piece| self.window_fits(flat, piece))? {
            let mut task = self.task(ground, &piece, &whole);
            task.items = low(piece.elements().div_ceil(4));
            task.sums_origin = low(piece.from[3]);
            task.sums_len = low(piece.to[3]);
            self.push(ground, variant, 1, task, &piece, &whole, None);
        }
        Ok(())
    }

    pub(super) fn residual(&self) -> Residual {
        match (self.plan.residual, self.wishes.sum_in_place) {
            (false, _) => Residual::None,
            (true, false) => Residual::Apart,
            (true, true) => Residual::InPlace,
        }
    }
}
