//! What the schedules of both passes are made of: dispatches, and how a tensor is cut into them.

use super::boxes::{Box4, levels};
use super::capabilities::Capabilities;
use super::options::Part;
use super::partials::Partials;
use super::role::Role;
use super::slots::{AffineSlot, Kernel, Lanes, Placement};
use super::strategy::{MOST_STEPS, SHORT_ROW, Strategy};
use super::uniforms::Task;
use super::variant::Variant;
use crate::error::{Error, Result};
use crate::plan::{Activation, Momentum, ParameterMap, Plan, View};
use crate::tensor::Dtype;
use std::ops::Range;

/// What a shader is compiled with beside its text: the values of its overrides, each where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Constants {
    pub(crate) workgroup_size: u32,
    pub(crate) lanes: u32,
    pub(crate) subgroup_size: Option<u32>,
    pub(crate) parameter_step: Option<u32>,
    pub(crate) one_row: Option<bool>,
    pub(crate) shared_rows: Option<bool>,
    pub(crate) row_lanes: Option<u32>,
    pub(crate) tile: Option<u32>,
    pub(crate) each_row: Option<bool>,
    pub(crate) row_statistics: Option<bool>,
    pub(crate) column_statistics: Option<bool>,
    pub(crate) activation: Option<u32>,
    pub(crate) rounds_normalized: Option<bool>,
    pub(crate) zero_centred: Option<bool>,
    pub(crate) parameter_sums: Option<u32>,
    pub(crate) weighted: Option<bool>,
    pub(crate) each: Option<bool>,
    pub(crate) given: Option<bool>,
    pub(crate) thresholded: Option<bool>,
    pub(crate) second: Option<bool>,
    pub(crate) together: Option<u32>,
    pub(crate) collecting: Option<u32>,
    pub(crate) loads_first: Option<bool>,
}

/// Memory that dispatches hand on to later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pool {
    /// Moments or sums of parts.
    Partials,
    /// Sums of cells or their parts, or of blocks of groups.
    Cells,
    /// Sums of groups.
    Groups,
    /// Sums of parameters, from chunk to chunk.
    Carry,
    /// Parameters of the affine map that are not the caller's.
    Prepared,
    /// Whether a label had no row, where the application does not ask.
    Flag,
    /// Sums of layers, then of the batch.
    Layers,
    /// What reaches the shares of a mixture.
    Shares,
}

impl Pool {
    pub(crate) const ALL: [Self; 8] = [
        Self::Partials,
        Self::Cells,
        Self::Groups,
        Self::Carry,
        Self::Prepared,
        Self::Flag,
        Self::Layers,
        Self::Shares,
    ];
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
    /// Statistics between the first and the last that it touches, where the application owns them.
    pub(crate) statistics: Range<u64>,
    /// Elements that it touches.
    pub(crate) elements: u64,
    /// The tensor that the kernel reads first.
    pub(crate) source: Role,
    /// What binding 6 of the shader stands for.
    pub(crate) partials: Pool,
    /// What binding 13 stands for.
    pub(crate) sums: Pool,
    /// What bindings 14 and 15 stand for.
    pub(crate) gradients: [Role; 2],
}

/// The dispatches of a plan, and the memory they need between them.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    pub(crate) strategy: Strategy,
    pub(crate) steps: Vec<Step>,
    /// Bytes of scratch for statistics that the application does not own.
    pub(crate) statistics_bytes: u64,
    /// Bytes of each pool.
    pub(crate) pools: [u64; 8],
}

impl Schedule {
    /// Makes a pool at least this large.
    pub(super) fn reserve(&mut self, pool: Pool, bytes: u64) {
        let size = &mut self.pools[pool as usize];
        *size = (*size).max(bytes);
    }
}

/// What the caller wants, as far as it bears on the schedule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wishes {
    pub(crate) strategy: Strategy,
    pub(crate) in_place: bool,
    pub(crate) subgroups: bool,
    /// Bytes that buffers' offsets are a multiple of.
    pub(crate) alignment: u64,
    /// Whether the application owns the statistics.
    pub(crate) saves: bool,
    /// Which half of the pass is done.
    pub(crate) part: Part,
    /// Whether the sum takes the residual's place.
    pub(crate) sum_in_place: bool,
    /// Whether a gradient reaches the sum of input and residual by other ways.
    pub(crate) inflow: bool,
    /// Whether means and deviations are written forward, or have gradients backward.
    pub(crate) moments: bool,
    /// Whether a kernel may keep statistics, move running estimates or write gradients of parameters beside what it reads:
    /// that takes more bindings, and buffers that are not one.
    pub(crate) beside: bool,
}

/// Bytes of one statistic or one partial moment.
pub(super) const ENTRY: u64 = 16;
/// Bytes that a binding of statistics may begin before the first one meant.
pub(super) const SLACK: u64 = 512;
/// Bytes of scratch that a chunk of statistics may take: enough to keep a device busy.
pub(super) const SCRATCH: u64 = 64 << 20;

pub(super) struct Planner<'a> {
    pub(super) plan: &'a Plan,
    pub(super) device: &'a Capabilities,
    pub(super) wishes: Wishes,
    pub(super) out: Schedule,
}

/// A range of statistics that share scratch: whole rows of `i_a`, or part of one.
pub(super) type Chunk = Box4;

/// The view that a dispatch walks over, and the parameters of its elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground {
    pub(super) view: View,
    pub(super) map: ParameterMap,
}

impl<'a> Planner<'a> {
    pub(super) fn new(plan: &'a Plan, device: &'a Capabilities, wishes: Wishes) -> Result<Self> {
        check_levels(plan.view)?;
        let out = Schedule { strategy: wishes.strategy, steps: Vec::new(), statistics_bytes: 0, pools: [0; 8] };
        Ok(Self { plan, device, wishes, out })
    }

    /// The plan's own view and parameters.
    pub(super) fn ground(&self) -> Ground {
        Ground::of(self.plan)
    }

    /// The tensor that forward normalizes.
    pub(super) fn normalized(&self) -> Role {
        let comes_as_input = self.wishes.strategy == Strategy::Resident || self.wishes.part == Part::Apply;
        let apart = self.plan.residual && !comes_as_input;
        if apart { Role::Sum } else { Role::Input }
    }

    pub(super) fn cut(&self, whole: Box4, granule: [u64; 4], fits: &dyn Fn(&Box4) -> bool) -> Result<Vec<Box4>> {
        whole.cut(granule, fits).ok_or_else(|| self.beyond_binding())
    }

    /// The error of a tensor that cannot be cut until it fits.
    pub(super) fn beyond_binding(&self) -> Error {
        let limit = self.device.max_binding;
        let input = self.plan.tensor_bytes() + slack(self.device);
        let statistics = (self.plan.view.statistics() as u64).saturating_mul(ENTRY).saturating_add(SLACK);
        if input <= limit && statistics > limit {
            return beyond_binding("statistics", statistics, limit);
        }
        beyond_binding("input", input, limit)
    }

    /// Whether the box's memory fits one binding, whose start has to be aligned.
    pub(super) fn window_fits(&self, view: View, piece: &Box4) -> bool {
        window_fits(self.plan, self.device, view, piece)
    }

    pub(super) fn parameters_fit(&self, piece: &Box4) -> bool {
        parameters_fit(self.plan, self.device, &self.ground().parameters(piece))
    }

    pub(super) fn task(&self, ground: Ground, piece: &Box4, chunk: &Chunk) -> Task {
        let plan = self.plan;
        let map = ground.map;
        let count = real(plan.view.count() as u64);
        let update = plan.running_update();
        Task {
            levels: levels(ground.view).map(low),
            origin: piece.from.map(low),
            extent: std::array::from_fn(|level| low(piece.extent(level))),
            a_end: low(piece.to[0]),
            c_end: low(piece.to[2]),
            block_a: 1,
            block_c: 1,
            statistics_origin: [low(chunk.from[0]), low(chunk.from[2])],
            statistics_row: low(ground.view.c as u64),
            a_modulus: low(map.a_modulus as u64),
            a_scale: low(map.a_scale as u64),
            b_divisor: low(map.b_divisor as u64),
            b_scale: low(map.b_scale as u64),
            c_scale: low(map.c_scale as u64),
            d_divisor: bounded(map.d_divisor),
            channels: low(plan.running_len().unwrap_or(1) as u64),
            sums_inner: 1,
            sums_len: 1,
            is_first_chunk: 1,
            samples_share: 1.0,
            prepared_len: low(plan.affine.map.len as u64),
            prepared_width: low(plan.derivation.map_or(1, |d| d.width.max(1)) as u64),
            repeat: low(plan.derivation.map_or(1, |d| d.repeat) as u64),
            classes: low(plan.derivation.and_then(|d| d.tables).map_or(1, |t| t.classes) as u64),
            eps: single(plan.eps),
            count: single(count),
            divisor: single(plan.divisor()),
            unbiased: single(update.map_or(1.0, |u| u.variance.correction(count))),
            momentum: match update.map(|u| u.momentum) {
                Some(Momentum::Fixed(share)) => single(share),
                _ => 0.0,
            },
            ..Task::default()
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one call makes one dispatch of everything that goes into it")]
    pub(super) fn push(
        &mut self,
        ground: Ground,
        mut variant: Variant,
        team: u32,
        task: Task,
        piece: &Box4,
        chunk: &Chunk,
        parameter_step: Option<u32>,
    ) -> &mut Step {
        let workgroup_size = match variant.kernel {
            Kernel::Counter => 1,
            _ if variant.kernel.exchanges() => self.device.workgroup(team, task.items.into()),
            Kernel::Collect => self.device.collecting_workgroup(team),
            Kernel::Column | Kernel::ColumnSums => self.device.column_workgroup(team),
            _ => self.device.copy_workgroup(team),
        };
        if variant.kernel != Kernel::Counter && variant.lanes.is_none() {
            variant.lanes = Some(if variant.kernel.exchanges() { self.lanes(team) } else { Lanes::Shared });
        }
        let lanes = match variant.kernel {
            Kernel::AffineFlat | Kernel::GradientFlat => u64::from(task.items) / 4 + 2,
            Kernel::Collect | Kernel::Publish => u64::from(task.items).div_ceil(variant.a_word()) * u64::from(team),
            _ => u64::from(task.items) * u64::from(team),
        };
        let parts = matches!(variant.kernel, Kernel::Split | Kernel::Sums);
        let one_row = task.levels[1] == 1 || (parts && task.rows == 1);
        let step = Step {
            constants: Constants {
                one_row: (variant.kernel.walks() && one_row).then_some(true),
                each_row: (variant.kernel.takes_columns() && task.b_scale != 0).then_some(true),
                shared_rows: (variant.affine.is_some() && task.b_divisor != 1).then_some(true),
                loads_first: (variant.kernel.adds_up_loads() && self.device.loads_first()).then_some(true),
                ..self.constants(&variant, workgroup_size, team, parameter_step)
            },
            workgroups: fold(lanes.div_ceil(u64::from(workgroup_size)), self.device.max_workgroups),
            task,
            window: piece.span(ground.view),
            parameters: ground.parameters(piece),
            statistics: chunk.statistics(self.plan.view),
            elements: piece.elements(),
            source: Role::Input,
            partials: Pool::Partials,
            sums: Pool::Groups,
            gradients: [Role::GradWeight, Role::GradBias],
            variant,
        };
        self.out.steps.push(step);
        let last = self.out.steps.len() - 1;
        &mut self.out.steps[last]
    }

    fn constants(&self, variant: &Variant, workgroup_size: u32, team: u32, step: Option<u32>) -> Constants {
        let epilogue = self.plan.epilogue;
        let has_epilogue = variant.affine.is_some() && variant.kernel != Kernel::Collect;
        let prepared = variant.affine == Some(AffineSlot::Prepared);
        let has_weight = matches!(variant.affine, Some(AffineSlot::Scale | AffineSlot::ScaleShift))
            || (prepared && self.plan.has_weight());
        let subgroup = variant.lanes == Some(Lanes::Subgroup);
        Constants {
            workgroup_size,
            lanes: team,
            subgroup_size: self.device.subgroups.filter(|_| subgroup).map(|(least, _)| least),
            parameter_step: step.filter(|_| variant.parameter.is_some() || prepared),
            activation: epilogue.activation.map(activation_number).filter(|_| has_epilogue),
            rounds_normalized: (has_epilogue && self.plan.rounds_normalized()).then_some(true),
            zero_centred: (has_weight && self.plan.adds_one()).then_some(true),
            thresholded: (prepared && self.plan.extra.tau.is_some()).then_some(true),
            ..Constants::default()
        }
    }

    /// Where the output goes: into the place of what the kernel reads, or elsewhere.
    pub(super) fn placement(&self) -> Placement {
        let replaces = self.wishes.in_place && self.normalized() == Role::Input;
        if replaces { Placement::InPlace } else { Placement::Apart }
    }
}

/// Whether the box's memory fits one binding, whose start has to be aligned.
pub(super) fn window_fits(plan: &Plan, device: &Capabilities, view: View, piece: &Box4) -> bool {
    fits_binding(&piece.span(view), plan.dtype, device)
}

/// Whether so many parameters do.
pub(super) fn parameters_fit(plan: &Plan, device: &Capabilities, parameters: &Range<u64>) -> bool {
    // What is prepared lies in one binding.
    let own = plan.affine.weight.or(plan.affine.bias).filter(|_| plan.derivation.is_none());
    own.is_none_or(|dtype| fits_binding(parameters, dtype, device))
}

fn fits_binding(span: &Range<u64>, dtype: Dtype, device: &Capabilities) -> bool {
    (span.end - span.start) * dtype.size() as u64 + slack(device) <= device.max_binding
}

/// Bytes that a binding has beside what is meant, at most: it begins where it may, and holds whole packs.
fn slack(device: &Capabilities) -> u64 {
    u64::from(device.storage_alignment.max(16)) + 16
}

impl Step {
    /// Has lanes share columns, and meet in a tile of workgroup memory.
    pub(super) fn shares_columns(&mut self, lanes: Option<u32>) {
        self.constants.row_lanes = lanes;
        self.constants.tile = lanes.map(|_| 4 * self.constants.workgroup_size);
    }

    /// Has each team take so many groups.
    pub(super) fn takes_together(&mut self, groups: u64) {
        self.constants.together = (groups > 1).then_some(low(groups));
    }
}

impl Ground {
    /// A plan's own.
    pub(super) fn of(plan: &Plan) -> Self {
        Self { view: plan.view, map: plan.affine.map }
    }

    /// The parameters between the first and the last that the box's elements have.
    pub(super) fn parameters(&self, piece: &Box4) -> Range<u64> {
        let map = self.map;
        let modulus = map.a_modulus as u64;
        let (first, last) = (piece.from[0], piece.to[0] - 1);
        let a = if first / modulus == last / modulus { (first % modulus, last % modulus) } else { (0, modulus - 1) };
        let ends = |a: u64, at: [u64; 4]| {
            a * map.a_scale as u64
                + at[1] / map.b_divisor as u64 * map.b_scale as u64
                + at[2] * map.c_scale as u64
                + at[3] / map.d_divisor as u64
        };
        ends(a.0, piece.from)..ends(a.1, piece.to.map(|end| end - 1)) + 1
    }
}

impl Box4 {
    /// Elements.
    pub(super) fn elements(&self) -> u64 {
        (0..4).map(|level| self.extent(level)).product()
    }

    /// Groups, or cells.
    pub(super) fn groups(&self) -> u64 {
        self.extent(0) * self.extent(2)
    }

    /// The statistics of a view from its first to its last.
    pub(super) fn statistics(&self, view: View) -> Range<u64> {
        let c = view.c as u64;
        self.from[0] * c + self.from[2]..(self.to[0] - 1) * c + self.to[2]
    }
}

/// The error of what takes more bytes than can be bound.
pub(super) fn beyond_binding(argument: &'static str, needed: u64, limit: u64) -> Error {
    Error::TooLarge { argument, needed, unit: "bytes", limit, limit_name: "largest storage binding of the device" }
}

/// The error of what takes more scratch than a dispatch has.
pub(super) fn too_large(argument: &'static str, needed: u64, limit: u64) -> Error {
    Error::TooLarge { argument, needed, unit: "bytes", limit, limit_name: "scratch of one dispatch" }
}

/// Kernels count along each level, and along columns where those are short.
pub(super) fn check_levels(view: View) -> Result<()> {
    let [_, _, c, d] = levels(view);
    let columns = if d < SHORT_ROW as u64 { c.saturating_mul(d) } else { 0 };
    let needed = levels(view).into_iter().max().unwrap_or(0).max(columns);
    if view.elements() > 0 && needed > MOST_STEPS {
        let (limit, limit_name) = (MOST_STEPS, "most that one level of a plan counts");
        return Err(Error::TooLarge { argument: "input", needed, unit: "elements", limit, limit_name });
    }
    Ok(())
}

/// The number of an activation in the shaders.
fn activation_number(activation: Activation) -> u32 {
    match activation {
        Activation::Relu => 1,
        Activation::Silu => 2,
        Activation::Gelu => 3,
        Activation::GeluTanh => 4,
    }
}

pub(super) fn set_partials(task: &mut Task, partials: &Partials) {
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
    let below = workgroups.isqrt();
    let x = below + u64::from(below * below < workgroups);
    [low(x), low(workgroups.div_ceil(x))]
}

/// The low half: offsets into the whole tensor are meant modulo 2^32, everything else is below it.
#[expect(clippy::cast_possible_truncation, reason = "modulo 2^32 on purpose")]
pub(super) fn low(n: u64) -> u32 {
    n as u32
}

/// A divisor, of which all beyond 32 bits do the same.
pub(super) fn bounded(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "no tensor has 2^53 elements")]
pub(super) fn real(n: u64) -> f64 {
    n as f64
}

#[expect(clippy::cast_possible_truncation, reason = "kernels compute in f32")]
pub(super) fn single(x: f64) -> f32 {
    x as f32
}
