//! The dispatches that a plan comes down to on a device: pure data, made once a shape.

use super::boxes::{Box4, levels};
use super::strategy::{Capabilities, Partials, Strategy, packs, rows_share_words};
use super::uniforms::Task;
use super::variant::{Kernel, Lanes, MomentumSlot, Placement, Registers, Saved, Variant};
use crate::error::{Error, Result};
use crate::plan::{Momentum, Plan};
use crate::tensor::Dtype;
use std::ops::Range;

/// What a shader is compiled with beside its text: the values of its overrides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Constants {
    pub(crate) workgroup_size: u32,
    pub(crate) lanes: u32,
    pub(crate) subgroup_size: Option<u32>,
    pub(crate) parameter_step: Option<u32>,
    pub(crate) columns: Option<bool>,
}

/// One dispatch.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) variant: Variant,
    pub(crate) constants: Constants,
    pub(crate) workgroups: [u32; 2],
    /// Everything but the shifts, which depend on the buffers.
    pub(crate) task: Task,
    /// Elements of the tensor between the first and the last that the dispatch touches.
    pub(crate) window: Range<u64>,
    /// Parameters between the first and the last that it touches.
    pub(crate) parameters: Range<u64>,
    /// Elements that it touches.
    pub(crate) elements: u64,
}

/// The dispatches of a plan, and the memory they need between them.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    pub(crate) strategy: Strategy,
    pub(crate) steps: Vec<Step>,
    /// Bytes of scratch for statistics.
    pub(crate) statistics_bytes: u64,
    /// Bytes of scratch for partial moments.
    pub(crate) partials_bytes: u64,
}

/// What the caller wants, as far as it bears on the schedule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wishes {
    pub(crate) strategy: Strategy,
    pub(crate) in_place: bool,
    pub(crate) subgroups: bool,
    /// Bytes that buffers' offsets are a multiple of.
    pub(crate) alignment: u64,
}

/// Bytes of one statistic or one partial.
const ENTRY: u64 = 16;
/// Bytes of scratch that a chunk of statistics may take: enough to keep a device busy.
const SCRATCH: u64 = 64 << 20;

/// The schedule of a plan.
pub(crate) fn schedule(plan: &Plan, device: &Capabilities, wishes: Wishes) -> Result<Schedule> {
    let strategy = wishes.strategy;
    let mut planner = Planner {
        plan,
        device,
        wishes,
        out: Schedule { strategy, steps: Vec::new(), statistics_bytes: 0, partials_bytes: 0 },
    };
    if plan.view.elements() == 0 {
        return Ok(planner.out);
    }
    if levels(plan.view).iter().any(|&level| level > u64::from(u32::MAX)) {
        let limit = u64::from(u32::MAX);
        let needed = levels(plan.view).into_iter().max().unwrap_or(0);
        return Err(Error::TooLarge {
            argument: "input",
            needed,
            limit,
            limit_name: "length of one level of the view",
        });
    }
    if plan.running_update().is_some_and(|u| u.counter) {
        planner.counter();
    }
    match strategy {
        Strategy::Resident => planner.whole_groups(Kernel::Resident)?,
        Strategy::Streaming => planner.whole_groups(Kernel::Streaming)?,
        Strategy::Split | Strategy::Column | Strategy::Affine => planner.by_chunks()?,
    }
    Ok(planner.out)
}

pub(super) struct Planner<'a> {
    pub(super) plan: &'a Plan,
    pub(super) device: &'a Capabilities,
    pub(super) wishes: Wishes,
    out: Schedule,
}

/// A range of statistics that share scratch: whole rows of `i_a`, or part of one.
type Chunk = Box4;

impl Planner<'_> {
    // The strategies.

    /// Resident and streaming: a team takes a group from the first element to the last.
    fn whole_groups(&mut self, kernel: Kernel) -> Result<()> {
        let plan = self.plan;
        let update = plan.running_update();
        let [_, b, _, d] = levels(plan.view);
        let whole = Box4::whole(plan.view);
        let chunks = if update.is_some() { self.chunks()? } else { vec![whole] };
        let partials = Partials::of_groups(plan, self.device);
        let (team, registers) = match kernel {
            Kernel::Resident => {
                let team = self.device.team(packs(plan.view));
                (team, Registers::holding(packs(plan.view).div_ceil(u64::from(team))))
            }
            _ => (partials.team, None),
        };
        let row = d;
        let mut variant = self.applying(Variant::new(kernel), row);
        variant.moment = Some(self.moment());
        variant.registers = registers;
        variant.saved = Some(if update.is_some() { Saved::Statistics } else { Saved::None });
        for chunk in chunks {
            let fits = |piece: &Box4| self.window_fits(piece) && self.parameters_fit(piece);
            for piece in self.cut(chunk, [1, b, 1, d], &fits)? {
                let mut task = self.task(&piece, &chunk);
                task.items = low(piece.extent(0) * piece.extent(2));
                set_partials(&mut task, &partials);
                self.push(variant, team, task, &piece, self.parameter_step(row, false));
            }
            self.running(&chunk);
        }
        Ok(())
    }

    /// Split, column and affine: statistics first, chunk by chunk so that the scratch stays small.
    fn by_chunks(&mut self) -> Result<()> {
        for chunk in self.chunks()? {
            self.statistics(&chunk)?;
            self.apply(&chunk)?;
            self.running(&chunk);
        }
        Ok(())
    }

    fn chunks(&mut self) -> Result<Vec<Chunk>> {
        let [_, b, c, d] = levels(self.plan.view);
        let partials = match self.wishes.strategy {
            Strategy::Column => Some(Partials::of_columns(self.plan, self.device).count),
            Strategy::Split => Some(Partials::of_groups(self.plan, self.device).count),
            Strategy::Resident | Strategy::Streaming | Strategy::Affine => None,
        };
        let entries = partials.unwrap_or(1);
        let scratch = SCRATCH.min(self.device.max_binding);
        let whole = Box4::whole(self.plan.view);
        let fits = |piece: &Box4| piece.extent(0) * piece.extent(2) * entries * ENTRY <= scratch;
        let mut granule = [1, b, 4.min(c), d];
        if let Some(update) = self.plan.running_update() {
            // A dispatch of the running kernel takes whole samples, or, where there is one, some channels.
            let channels = update.channels as u64;
            if channels < self.plan.view.statistics() as u64 {
                granule = [channels / c, b, c, d];
            }
        }
        let chunks = whole.cut(granule, &fits).ok_or(Error::TooLarge {
            argument: "statistics of one sample",
            needed: granule[0] * granule[2] * entries * ENTRY,
            limit: scratch,
            limit_name: "scratch of one dispatch",
        })?;
        let most = chunks.iter().map(|c| c.extent(0) * c.extent(2)).max().unwrap_or(0);
        self.out.statistics_bytes = most * ENTRY;
        self.out.partials_bytes = partials.map_or(0, |count| most * count * ENTRY);
        Ok(chunks)
    }

    // The steps of a chunk.

    fn statistics(&mut self, chunk: &Chunk) -> Result<()> {
        match self.wishes.strategy {
            Strategy::Affine => {
                self.given(chunk);
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
        let fits = |piece: &Box4| self.window_fits(piece);
        for piece in self.cut(*chunk, [1, partials.rows, 1, partials.segment], &fits)? {
            let mut task = self.task(&piece, chunk);
            set_partials(&mut task, partials);
            task.origin[1] = low(piece.from[1] / partials.rows);
            task.extent[1] = low(piece.extent(1).div_ceil(partials.rows));
            task.origin[3] = low(piece.from[3] / partials.segment);
            task.extent[3] = low(piece.extent(3).div_ceil(partials.segment));
            task.items = product(task.extent);
            self.push(variant, partials.team, task, &piece, None);
        }
        Ok(())
    }

    fn column(&mut self, chunk: &Chunk, partials: &Partials) -> Result<()> {
        let [_, _, c, d] = levels(self.plan.view);
        let mut variant = Variant::new(Kernel::Column);
        variant.element = Some(self.element(c * d));
        variant.placement = Some(Placement::Apart);
        variant.moment = Some(self.moment());
        let fits = |piece: &Box4| self.window_fits(piece);
        for piece in self.cut(*chunk, [1, partials.rows, 4.min(c), d], &fits)? {
            let mut task = self.task(&piece, chunk);
            set_partials(&mut task, partials);
            task.origin[1] = low(piece.from[1] / partials.rows);
            task.extent[1] = low(piece.extent(1).div_ceil(partials.rows));
            task.origin[3] = low(piece.from[2] * d);
            task.extent[3] = low((piece.extent(2) * d).div_ceil(4));
            task.items = low(piece.extent(0) * u64::from(task.extent[1]) * u64::from(task.extent[3]));
            self.push(variant, 1, task, &piece, None);
        }
        Ok(())
    }

    fn merge(&mut self, chunk: &Chunk, partials: &Partials) {
        let mut task = self.task(chunk, chunk);
        set_partials(&mut task, partials);
        task.items = low(chunk.extent(0) * chunk.extent(2));
        let mut variant = Variant::new(Kernel::Merge);
        variant.lanes = Some(self.lanes(partials.team));
        self.push(variant, partials.team, task, chunk, None);
    }

    fn given(&mut self, chunk: &Chunk) {
        let mut task = self.task(chunk, chunk);
        task.items = low(chunk.extent(0) * chunk.extent(2));
        self.push(Variant::new(Kernel::Given), 1, task, chunk, None);
    }

    fn counter(&mut self) {
        let whole = Box4::whole(self.plan.view);
        let mut task = self.task(&whole, &whole);
        task.items = 1;
        self.push(Variant::new(Kernel::Counter), 1, task, &whole, None);
    }

    fn running(&mut self, chunk: &Chunk) {
        let Some(update) = self.plan.running_update() else { return };
        let here = chunk.extent(0) * chunk.extent(2);
        let all_samples = (self.plan.view.statistics() / update.channels) as u64;
        // Either the chunk is some of the channels of one sample, or some whole samples.
        let (channels, samples) =
            if all_samples == 1 { (here, 1) } else { (update.channels as u64, here / update.channels as u64) };
        let first_channel = chunk.from[0] * self.plan.view.c as u64 + chunk.from[2];
        let mut task = self.task(chunk, chunk);
        task.items = low(channels);
        task.samples = low(samples);
        task.channel_origin = low(if all_samples == 1 { first_channel } else { 0 });
        task.is_first_chunk = u32::from(all_samples == 1 || first_channel == 0);
        task.samples_share = single(real(samples) / real(all_samples));
        let team = self.device.team_to_average(samples);
        let mut variant = Variant::new(Kernel::Running);
        variant.lanes = Some(self.lanes(team));
        variant.momentum = Some(match update.momentum {
            Momentum::Fixed(_) => MomentumSlot::Fixed,
            Momentum::Cumulative => MomentumSlot::Cumulative,
        });
        self.push(variant, team, task, chunk, None);
    }

    fn apply(&mut self, chunk: &Chunk) -> Result<()> {
        let [_, _, c, d] = levels(self.plan.view);
        let columns = self.applies_by_columns();
        let row = if columns { c * d } else { d };
        if rows_share_words(self.plan, row, self.device) {
            return self.apply_flat(chunk);
        }
        let team = self.device.team_to_copy(if columns { chunk.extent(2) * d } else { d });
        let segment = u64::from(team) * 4 * 8;
        let variant = self.applying(Variant::new(Kernel::Affine), row);
        let granule = if columns { [1, 1, 4.min(c), d] } else { [1, 1, 1, segment] };
        let fits = |piece: &Box4| self.window_fits(piece) && self.parameters_fit(piece);
        for piece in self.cut(*chunk, granule, &fits)? {
            let mut task = self.task(&piece, chunk);
            let places = if columns { piece.from[2] * d..piece.to[2] * d } else { piece.from[3]..piece.to[3] };
            task.segment = low(segment);
            task.origin[3] = low(places.start);
            task.place_end = low(places.end);
            task.extent[3] = low((places.end - places.start).div_ceil(segment));
            let side_by_side = if columns { 1 } else { piece.extent(2) };
            let rows = piece.extent(0) * piece.extent(1) * side_by_side;
            task.items = low(rows * u64::from(task.extent[3]));
            self.push(variant, team, task, &piece, self.parameter_step(row, columns));
        }
        Ok(())
    }

    /// For rows that share words with their neighbours: any run of memory, word by word.
    fn apply_flat(&mut self, chunk: &Chunk) -> Result<()> {
        let view = self.plan.view;
        let mut variant = self.applying(Variant::new(Kernel::AffineFlat), 1);
        variant.parameter = variant.parameter.map(|_| self.parameter(1));
        let fits = |piece: &Box4| piece.is_contiguous(view) && self.window_fits(piece) && self.parameters_fit(piece);
        for piece in self.cut(*chunk, [1; 4], &fits)? {
            let mut task = self.task(&piece, chunk);
            task.items = low((0..4).map(|level| piece.extent(level)).product());
            self.push(variant, 1, task, &piece, self.parameter_step(view.d as u64, false));
        }
        Ok(())
    }

    // What the steps have in common.

    fn cut(&self, whole: Box4, granule: [u64; 4], fits: &dyn Fn(&Box4) -> bool) -> Result<Vec<Box4>> {
        whole.cut(granule, fits).ok_or_else(|| Error::TooLarge {
            argument: "input",
            needed: self.plan.tensor_bytes(),
            limit: self.device.max_binding,
            limit_name: "largest storage binding of the device",
        })
    }

    /// Whether the box's memory fits one binding, whose start has to be aligned.
    fn window_fits(&self, piece: &Box4) -> bool {
        let span = piece.span(self.plan.view);
        let slack = u64::from(self.device.storage_alignment.max(16)) + 16;
        (span.end - span.start) * self.plan.dtype.size() as u64 + slack <= self.device.max_binding
    }

    fn parameters_fit(&self, piece: &Box4) -> bool {
        let size = self.plan.affine.weight.or(self.plan.affine.bias).map_or(0, Dtype::size) as u64;
        let span = self.parameter_span(piece);
        let slack = u64::from(self.device.storage_alignment.max(16)) + 16;
        (span.end - span.start) * size + slack <= self.device.max_binding
    }

    /// The parameters between the first and the last that the box's elements have.
    fn parameter_span(&self, piece: &Box4) -> Range<u64> {
        let map = self.plan.affine.map;
        let modulus = map.a_modulus as u64;
        let (first, last) = (piece.from[0], piece.to[0] - 1);
        let a = if first / modulus == last / modulus { (first % modulus, last % modulus) } else { (0, modulus - 1) };
        let ends = |a: u64, at: [u64; 4]| {
            a * map.a_scale as u64
                + at[1] * map.b_scale as u64
                + at[2] * map.c_scale as u64
                + at[3] / map.d_divisor as u64
        };
        ends(a.0, piece.from)..ends(a.1, piece.to.map(|end| end - 1)) + 1
    }

    fn task(&self, piece: &Box4, chunk: &Chunk) -> Task {
        let plan = self.plan;
        let map = plan.affine.map;
        let count = real(plan.view.count() as u64);
        let update = plan.running_update();
        Task {
            levels: levels(plan.view).map(low),
            origin: piece.from.map(low),
            extent: std::array::from_fn(|level| low(piece.extent(level))),
            statistics_origin: [low(chunk.from[0]), low(chunk.from[2])],
            statistics_row: low(chunk.extent(2)),
            a_modulus: low(map.a_modulus as u64),
            a_scale: low(map.a_scale as u64),
            b_scale: low(map.b_scale as u64),
            c_scale: low(map.c_scale as u64),
            d_divisor: low(map.d_divisor as u64),
            channels: low(plan.running_len().unwrap_or(1) as u64),
            eps: single(plan.eps),
            count: single(count),
            unbiased: single(count / (count - 1.0)),
            momentum: match update.map(|u| u.momentum) {
                Some(Momentum::Fixed(share)) => single(share),
                _ => 0.0,
            },
            ..Task::default()
        }
    }

    fn push(&mut self, mut variant: Variant, team: u32, task: Task, piece: &Box4, parameter_step: Option<u32>) {
        let workgroup_size = match variant.kernel {
            Kernel::Counter => 1,
            Kernel::Affine | Kernel::AffineFlat | Kernel::Column | Kernel::Given => self.device.copy_lanes(),
            _ => self.device.workgroup(team),
        };
        if variant.kernel != Kernel::Counter && variant.lanes.is_none() {
            let exchanges = matches!(variant.kernel, Kernel::Resident | Kernel::Streaming);
            variant.lanes = Some(if exchanges { self.lanes(team) } else { Lanes::Shared });
        }
        let subgroup = variant.lanes == Some(Lanes::Subgroup);
        let constants = Constants {
            workgroup_size,
            lanes: team,
            subgroup_size: self.device.subgroups.filter(|_| subgroup).map(|(least, _)| least),
            parameter_step: parameter_step.filter(|_| variant.parameter.is_some()),
            columns: (variant.kernel == Kernel::Affine).then(|| self.applies_by_columns()),
        };
        let lanes = if variant.kernel == Kernel::AffineFlat {
            u64::from(task.items) / 4 + 2
        } else {
            u64::from(task.items) * u64::from(team)
        };
        let workgroups = fold(lanes.div_ceil(u64::from(workgroup_size)), self.device.max_workgroups);
        let window = piece.span(self.plan.view);
        let parameters = self.parameter_span(piece);
        let elements = (0..4).map(|level| piece.extent(level)).product();
        self.out.steps.push(Step { variant, constants, workgroups, task, window, parameters, elements });
    }
}

fn set_partials(task: &mut Task, partials: &Partials) {
    task.rows = low(partials.rows);
    task.segment = low(partials.segment);
    task.segments = low(partials.segments);
    task.partials = low(partials.count);
}

/// Workgroup counts folded over two dimensions, near-square where one is not enough.
fn fold(workgroups: u64, most: u32) -> [u32; 2] {
    if workgroups <= u64::from(most) {
        return [low(workgroups), 1];
    }
    let x = workgroups.isqrt() + 1;
    [low(x), low(workgroups.div_ceil(x))]
}

fn product(extent: [u32; 4]) -> u32 {
    extent.iter().product()
}

/// The low half: offsets into the whole tensor are meant modulo 2^32, everything else is below it.
#[expect(clippy::cast_possible_truncation, reason = "modulo 2^32 on purpose")]
fn low(n: u64) -> u32 {
    n as u32
}

#[expect(clippy::cast_precision_loss, reason = "no tensor has 2^53 elements")]
fn real(n: u64) -> f64 {
    n as f64
}

#[expect(clippy::cast_possible_truncation, reason = "kernels compute in f32")]
fn single(x: f64) -> f32 {
    x as f32
}
