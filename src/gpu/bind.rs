use super::buffers::{Argument, Buffers, Expectation, arguments, check_aliasing};
use super::device::scoped;
use super::planner::{Pool, Role, Step};
use super::prepare::{Pass, Prepared};
use super::slots::{
    AffineSlot, Collected, Epsilon, Inflow, Kernel, MomentumSlot, Picking, Placement, Residual, Saved, Terms,
};
use super::uniforms::Task;
use super::variant::Variant;
use crate::error::{Error, Result};
use crate::plan::{Plan, Tables};
use crate::tensor::Dtype;
use std::ops::Range;
use wgpu::{BufferSlice, BufferUsages};

/// A prepared plan with its buffers, ready to be recorded. It owns the scratch memory.
#[derive(Debug, Clone)]
pub struct Bound {
    pub(super) steps: Vec<BoundStep>,
}

#[derive(Debug, Clone)]
pub(super) struct BoundStep {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) bind_group: wgpu::BindGroup,
    pub(super) workgroups: [u32; 2],
}

/// Memory that the kernels use between them.
struct Scratch {
    statistics: Option<wgpu::Buffer>,
    pools: [Option<wgpu::Buffer>; 8],
    tasks: Option<wgpu::Buffer>,
}

impl Prepared {
    /// Checks the buffers and makes the bind groups. Once a set of buffers.
    ///
    /// # Errors
    ///
    /// When a buffer is missing or not expected, too small, without `STORAGE` among its usages, at an
    /// offset that is no multiple of what the plan was prepared with, of another device, or shares
    /// memory with a buffer that is written; and when the device has no memory for the scratch.
    pub fn bind(&self, buffers: &Buffers<'_>) -> Result<Bound> {
        let arguments = arguments(buffers, &self.expected())?;
        check_aliasing(&arguments, &self.same())?;
        if self.schedule.steps.is_empty() {
            return Ok(Bound { steps: Vec::new() });
        }
        let made = scoped(&self.gpu.device, || {
            let scratch = self.scratch(buffers);
            let steps = self.schedule.steps.iter().zip(&self.pipelines).enumerate();
            steps.map(|(i, (step, pipeline))| self.bind_step(i, step, pipeline, buffers, &scratch)).collect()
        });
        match made {
            Ok(steps) => Ok(Bound { steps }),
            Err(message) => Err(self.blame(&arguments, message)),
        }
    }

    /// What the pass expects of its buffers.
    fn expected(&self) -> Vec<Expectation> {
        let plan = &self.plan;
        let mut expected = Vec::with_capacity(9);
        let mut add = |role, bytes, alignment, written, optional| {
            expected.push(Expectation { role, bytes, alignment, written, optional });
        };
        let (tensor, any) = (plan.tensor_bytes(), self.options.offset_alignment);
        let parameter = |role| {
            let (len, dtype) = plan.parameter(role);
            (len * dtype.map_or(0, Dtype::size)) as u64
        };
        // An empty tensor has none, however many groups its other axes make.
        let statistics = 16 * plan.kept_statistics() as u64;
        let a_group = if tensor == 0 { 0 } else { (plan.view.statistics() * plan.dtype.size()) as u64 };
        add(Role::Input, tensor, any, false, false);
        if plan.affine.weight.is_some() {
            add(Role::Weight, parameter(Role::Weight), any, false, false);
        }
        if plan.affine.bias.is_some() {
            // Backward needs it for the slope of an activation alone.
            let needed = plan.epilogue.activation.is_some() || plan.derivation.is_some();
            add(Role::Bias, parameter(Role::Bias), any, false, self.pass != Pass::Forward && !needed);
        }
        for (role, dtype) in Role::EXTRA.zip(plan.extra).into_array() {
            if dtype.is_some() {
                add(role, parameter(role), any, false, false);
            }
        }
        if let Some(samples) = plan.labels() {
            let storage = u64::from(self.gpu.capabilities.storage_alignment);
            add(Role::Labels, 8 * samples as u64, storage, false, false);
            add(Role::ErrorFlag, 4, storage, true, true);
        }
        let wanted = match self.pass {
            Pass::Forward => {
                add(Role::Output, tensor, any, true, false);
                if plan.residual {
                    add(Role::Residual, tensor, any, false, false);
                    add(Role::Sum, tensor, any, true, false);
                }
                if self.options.save_statistics {
                    add(Role::Statistics, statistics, 16, true, false);
                }
                if self.options.moments {
                    add(Role::Mean, a_group, any, true, false);
                    add(Role::Std, a_group, any, true, false);
                }
                self.expect_state(&mut add);
                return expected;
            }
            Pass::Backward(wanted) => wanted,
        };
        add(Role::GradOutput, tensor, any, false, false);
        add(Role::Statistics, statistics, 16, false, false);
        if self.options.grad_sum {
            add(Role::GradSum, tensor, any, false, false);
        }
        if self.options.moments {
            add(Role::GradMean, a_group, any, false, true);
            add(Role::GradStd, a_group, any, false, true);
        }
        let gradients = [
            (Role::GradInput, wanted.input, tensor),
            (Role::GradWeight, wanted.weight, parameter(Role::Weight)),
            (Role::GradBias, wanted.bias, parameter(Role::Bias)),
        ];
        let of_extra = Role::GRAD_EXTRA.zip(Role::EXTRA).zip(plan.extra).into_array();
        let of_extra =
            of_extra.into_iter().map(|((role, of), dtype)| (role, wanted.extra && dtype.is_some(), parameter(of)));
        for (role, _, bytes) in gradients.into_iter().chain(of_extra).filter(|gradient| gradient.1) {
            add(role, bytes, any, true, false);
        }
        expected
    }

    /// Running estimates and their counter.
    fn expect_state(&self, add: &mut impl FnMut(Role, u64, u64, bool, bool)) {
        let Some(channels) = self.plan.running_len() else { return };
        let update = self.plan.running_update();
        let storage = u64::from(self.gpu.capabilities.storage_alignment);
        for role in [Role::RunningMean, Role::RunningVar] {
            add(role, 4 * channels as u64, storage, update.is_some(), false);
        }
        // In evaluation the counter may be there, and is left alone.
        let counts = update.is_some_and(|u| u.counter);
        if counts || update.is_none() {
            add(Role::NumBatchesTracked, 8, storage, counts, !counts);
        }
    }

    /// Pairs of a written and a read argument that are the same slice.
    fn same(&self) -> Vec<(Role, Role)> {
        let tensors = match self.pass {
            Pass::Forward => (Role::Output, Role::Input),
            Pass::Backward(_) => (Role::GradInput, Role::GradOutput),
        };
        let pairs = [(tensors, self.options.in_place), ((Role::Sum, Role::Residual), self.options.sum_in_place)];
        pairs.into_iter().filter(|(_, same)| *same).map(|(pair, _)| pair).collect()
    }

    fn scratch(&self, buffers: &Buffers<'_>) -> Scratch {
        let device = &self.gpu.device;
        let storage = |label, size| {
            (size > 0).then(|| {
                device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some(label),
                    size,
                    usage: BufferUsages::STORAGE,
                    mapped_at_creation: false,
                })
            })
        };
        Scratch {
            statistics: storage("wgpu-norm.statistics", self.schedule.statistics_bytes),
            pools: Pool::ALL.map(|pool| storage("wgpu-norm.sums", self.schedule.pools[pool as usize])),
            tasks: self.tasks(buffers),
        }
    }

    /// Bytes from one task to the next.
    fn task_stride(&self) -> u64 {
        (size_of::<Task>() as u64).next_multiple_of(u64::from(self.gpu.capabilities.uniform_alignment))
    }

    /// One uniform block a step, in one buffer.
    fn tasks(&self, buffers: &Buffers<'_>) -> Option<wgpu::Buffer> {
        let stride = self.task_stride();
        let buffer = self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("wgpu-norm.tasks"),
            size: stride * self.schedule.steps.len() as u64,
            usage: BufferUsages::UNIFORM,
            mapped_at_creation: true,
        });
        let mut view = buffer.slice(..).get_mapped_range_mut().ok()?;
        let stride = usize::try_from(stride).ok()?;
        for (i, step) in self.schedule.steps.iter().enumerate() {
            let task = self.shifted(step, buffers);
            view.slice(i * stride..i * stride + size_of::<Task>()).copy_from_slice(bytemuck::bytes_of(&task));
        }
        drop(view);
        buffer.unmap();
        Some(buffer)
    }

    /// The task with the shifts that these buffers' offsets bring.
    fn shifted(&self, step: &Step, buffers: &Buffers<'_>) -> Task {
        let shift = |role: Role, first: u64, size: usize| {
            let size = size as u64;
            buffers.get(role).map_or(0, |slice| self.window(slice, first, first, size).shift(first, size))
        };
        let tensor = |role| shift(role, step.window.start, self.plan.dtype.size());
        let replaced = step.variant.placement == Some(Placement::InPlace);
        let mut task = Task {
            input_shift: tensor(if replaced { self.result() } else { step.source }),
            output_shift: tensor(self.result()),
            x_shift: tensor(Role::Input),
            added_shift: tensor(self.added()),
            sum_shift: tensor(Role::Sum),
            statistics_shift: self.statistics_shift(step, buffers).wrapping_add(step.task.statistics_shift),
            extra_shift: self.extra_shift(step, buffers),
            ..step.task
        };
        match step.variant.kernel {
            Kernel::Prepare => task.present = self.present_to_prepare(buffers),
            Kernel::MomentsInflow => task.present = present(&[Role::GradMean, Role::GradStd], buffers),
            _ => {}
        }
        if step.variant.collected.is_some_and(|c| c != Collected::Sums) {
            // Their gradients are counted in words.
            let [one, other] = step.gradients;
            (task.weight_shift, task.bias_shift) = (shift(one, 0, 4), shift(other, 0, 4));
        } else {
            let parameter =
                |role, dtype: Option<Dtype>| shift(role, step.parameters.start, dtype.map_or(1, Dtype::size));
            task.weight_shift = parameter(Role::Weight, self.plan.affine.weight);
            task.bias_shift = parameter(Role::Bias, self.plan.affine.bias);
        }
        if self.options.sum_in_place {
            task.added_shift = task.sum_shift;
        }
        task
    }

    /// The shifts of two more tensors, which kernels other than those of whole tensors read or write.
    fn extra_shift(&self, step: &Step, buffers: &Buffers<'_>) -> [u32; 2] {
        let shift = |role, first, size: u64| {
            buffers.get(role).map_or(0, |slice| self.window(slice, first, first, size).shift(0, size))
        };
        let first = step.statistics.start;
        let stored = |role| self.plan.parameter(role).1.map_or(1, |dtype| dtype.size() as u64);
        let size = self.plan.dtype.size() as u64;
        match step.variant.kernel {
            Kernel::Prepare => {
                let [one, other] = self.picked_roles();
                [shift(one, 0, stored(one)), shift(other, 0, stored(other))]
            }
            Kernel::Mix | Kernel::Unmix => [Role::MeanWeight, Role::VarWeight].map(|role| shift(role, 0, stored(role))),
            // Counted in words, of which the first belongs to an even statistic.
            Kernel::Publish => [Role::Mean, Role::Std]
                .map(|role| buffers.get(role).map_or(0, |slice| self.window(slice, first, first, size).shift(0, 4))),
            Kernel::MomentsInflow => [Role::GradMean, Role::GradStd].map(|role| shift(role, first, size)),
            _ => [0; 2],
        }
    }

    /// What the prepare kernel reads beside weight and bias.
    fn picked_roles(&self) -> [Role; 2] {
        match self.plan.derivation.and_then(|derivation| derivation.tables) {
            None => [Role::Tau, Role::EpsL],
            Some(Tables { are_parameters: false, .. }) => [Role::ClassWeight, Role::ClassBias],
            Some(Tables { are_parameters: true, .. }) => [Role::Weight, Role::Bias],
        }
    }

    /// What leads to the index of a statistic in the bound window: from its place in the step's chunk, or, where
    /// a step looks statistics up by a map, from its index in the whole plan.
    fn statistics_shift(&self, step: &Step, buffers: &Buffers<'_>) -> u32 {
        let Some(slice) = buffers.get(Role::Statistics) else { return 0 };
        let first = step.statistics.start;
        let is_mapped = matches!(step.variant.kernel, Kernel::Sums | Kernel::ColumnSums);
        self.window(slice, first, first, 16).shift(if is_mapped { first } else { 0 }, 16)
    }

    /// The tensor that the pass writes.
    fn result(&self) -> Role {
        if self.pass == Pass::Forward { Role::Output } else { Role::GradInput }
    }

    /// The tensor that the pass adds.
    fn added(&self) -> Role {
        if self.pass == Pass::Forward { Role::Residual } else { Role::GradSum }
    }

    /// The bytes of the buffer to bind for elements `first..end`, and how far the first is into them.
    fn window(&self, slice: BufferSlice<'_>, first: u64, end: u64, size: u64) -> Window {
        // Whole packs have to stay whole, so the start is aligned to 16 bytes at least.
        let alignment = u64::from(self.gpu.capabilities.storage_alignment).max(16);
        let at = slice.offset() + first * size;
        let offset = at / alignment * alignment;
        let bytes = (slice.offset() + end * size - offset).next_multiple_of(4);
        Window { offset, bytes, lead: at - offset }
    }

    fn bind_step(
        &self,
        index: usize,
        step: &Step,
        pipeline: &wgpu::ComputePipeline,
        buffers: &Buffers<'_>,
        scratch: &Scratch,
    ) -> BoundStep {
        let entries: Vec<_> = step
            .variant
            .bindings()
            .filter_map(|binding| {
                let resource = self.resource(binding, index, step, buffers, scratch)?;
                Some(wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Buffer(resource) })
            })
            .collect();
        let bind_group = self.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("wgpu-norm"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        BoundStep { pipeline: pipeline.clone(), bind_group, workgroups: step.workgroups }
    }

    /// What a binding of the shaders stands for, by its number there.
    fn resource<'a>(
        &self,
        binding: u32,
        index: usize,
        step: &Step,
        buffers: &Buffers<'a>,
        scratch: &'a Scratch,
    ) -> Option<wgpu::BufferBinding<'a>> {
        let affine = self.plan.affine;
        let tensor = |role| Some(self.part(buffers.get(role)?, &step.window, self.plan.dtype.size()));
        let parameter =
            |role, dtype: Option<Dtype>| Some(self.part(buffers.get(role)?, &step.parameters, dtype?.size()));
        let whole = |role: Role| {
            let (len, dtype) = self.plan.parameter(role.of_what());
            Some(self.part(buffers.get(role)?, &(0..len as u64), dtype?.size()))
        };
        // Where one of the tensors that a kernel knows is absent, another stands in its place and is not looked at.
        let prepared_from = |role| whole(role).or_else(|| PREPARED_FROM.into_iter().find_map(whole));
        let picked = self.picked_roles();
        let of_groups = |role| Some(self.part(buffers.get(role)?, &step.statistics, self.plan.dtype.size()));
        let pool = |pool: Pool| Some(scratch.pools[pool as usize].as_ref()?.as_entire_buffer_binding());
        match binding {
            SOURCE => tensor(step.source),
            RESULT => tensor(self.result()),
            TASK => {
                let size = std::num::NonZeroU64::new(size_of::<Task>() as u64);
                let buffer = scratch.tasks.as_ref()?;
                Some(wgpu::BufferBinding { buffer, offset: index as u64 * self.task_stride(), size })
            }
            WEIGHT if step.variant.kernel == Kernel::Prepare => prepared_from(Role::Weight),
            BIAS if step.variant.kernel == Kernel::Prepare => prepared_from(Role::Bias),
            WEIGHT => parameter(Role::Weight, affine.weight),
            BIAS => parameter(Role::Bias, affine.bias),
            STATISTICS => match buffers.get(Role::Statistics) {
                Some(slice) => Some(self.part(slice, &step.statistics, 16)),
                None => Some(scratch.statistics.as_ref()?.as_entire_buffer_binding()),
            },
            PARTIALS => pool(step.partials),
            RUNNING_MEAN => Some(self.estimate(buffers.get(Role::RunningMean)?)),
            RUNNING_VAR => Some(self.estimate(buffers.get(Role::RunningVar)?)),
            COUNTER => {
                let slice = buffers.get(Role::NumBatchesTracked)?;
                Some(Window { offset: slice.offset(), bytes: 8, lead: 0 }.of(slice))
            }
            X => tensor(Role::Input),
            ADDED => tensor(self.added()),
            SUM => tensor(Role::Sum),
            SUMS => pool(step.sums),
            GRAD_WEIGHT => whole(step.gradients[0]),
            GRAD_BIAS => whole(step.gradients[1]),
            PREPARED => pool(Pool::Prepared),
            CLASS_WEIGHT | TAU => prepared_from(picked[0]),
            CLASS_BIAS | EPS_L => prepared_from(picked[1]),
            LABELS => {
                let bytes = 8 * self.plan.labels().unwrap_or(0) as u64;
                let slice = buffers.get(Role::Labels)?;
                Some(Window { offset: slice.offset(), bytes, lead: 0 }.of(slice))
            }
            FLAG => match buffers.get(Role::ErrorFlag) {
                Some(slice) => Some(Window { offset: slice.offset(), bytes: 4, lead: 0 }.of(slice)),
                None => pool(Pool::Flag),
            },
            MEAN_WEIGHT => whole(Role::MeanWeight),
            VAR_WEIGHT => whole(Role::VarWeight),
            MEAN => of_groups(Role::Mean),
            STD => of_groups(Role::Std),
            GRAD_MEAN => of_groups(Role::GradMean).or_else(|| of_groups(Role::GradStd)),
            GRAD_STD => of_groups(Role::GradStd).or_else(|| of_groups(Role::GradMean)),
            OF_SHARES => pool(Pool::Shares),
            _ => None,
        }
    }

    fn part<'a>(&self, slice: BufferSlice<'a>, elements: &Range<u64>, size: usize) -> wgpu::BufferBinding<'a> {
        self.window(slice, elements.start, elements.end, size as u64).of(slice)
    }

    /// A running estimate, whole.
    fn estimate<'a>(&self, slice: BufferSlice<'a>) -> wgpu::BufferBinding<'a> {
        let bytes = 4 * self.plan.running_len().unwrap_or(0) as u64;
        Window { offset: slice.offset(), bytes, lead: 0 }.of(slice)
    }

    /// The error for what wgpu refused: the first argument that it refuses alone, or the device.
    fn blame(&self, arguments: &[Argument<'_>], message: String) -> Error {
        let device = &self.gpu.device;
        let refused = |argument: &&Argument<'_>| {
            let probe = scoped(device, || {
                let entry = wgpu::BindGroupLayoutEntry {
                    binding: 0,
                    visibility: wgpu::ShaderStages::COMPUTE,
                    ty: wgpu::BindingType::Buffer {
                        ty: wgpu::BufferBindingType::Storage { read_only: true },
                        has_dynamic_offset: false,
                        min_binding_size: None,
                    },
                    count: None,
                };
                let layout = device
                    .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &[entry] });
                let resource = Window { offset: 0, bytes: 4, lead: 0 }.of(argument.slice);
                device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: None,
                    layout: &layout,
                    entries: &[wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(resource) }],
                })
            });
            probe.is_err()
        };
        match arguments.iter().find(refused) {
            Some(argument) => Error::ForeignBuffer { argument: argument.role.name(), message },
            None => Error::Device(message),
        }
    }
}

const SOURCE: u32 = 0;
const RESULT: u32 = 1;
const TASK: u32 = 2;
const WEIGHT: u32 = 3;
const BIAS: u32 = 4;
const STATISTICS: u32 = 5;
const PARTIALS: u32 = 6;
const RUNNING_MEAN: u32 = 7;
const RUNNING_VAR: u32 = 8;
const COUNTER: u32 = 9;
const X: u32 = 10;
const ADDED: u32 = 11;
const SUM: u32 = 12;
const SUMS: u32 = 13;
const GRAD_WEIGHT: u32 = 14;
const GRAD_BIAS: u32 = 15;
const PREPARED: u32 = 16;
const CLASS_WEIGHT: u32 = 17;
const CLASS_BIAS: u32 = 18;
const TAU: u32 = 19;
const EPS_L: u32 = 20;
const LABELS: u32 = 21;
const FLAG: u32 = 22;
const MEAN_WEIGHT: u32 = 23;
const VAR_WEIGHT: u32 = 24;
const MEAN: u32 = 25;
const STD: u32 = 26;
const GRAD_MEAN: u32 = 27;
const GRAD_STD: u32 = 28;
const OF_SHARES: u32 = 29;

/// What the prepare kernel may read, in the order of the bits that say whether it is there.
const PREPARED_FROM: [Role; 6] = [Role::Weight, Role::Bias, Role::ClassWeight, Role::ClassBias, Role::Tau, Role::EpsL];

impl Prepared {
    /// Which of the tensors that the prepare kernel knows are there, bit by bit.
    fn present_to_prepare(&self, buffers: &Buffers<'_>) -> u32 {
        let present = present(&PREPARED_FROM, buffers);
        // Where weight and bias are the tables themselves, nothing is shared.
        let are_tables = self.plan.derivation.and_then(|d| d.tables).is_some_and(|tables| tables.are_parameters);
        if are_tables { (present & 3) << 2 } else { present }
    }
}

/// Which of these are there, bit by bit.
fn present(roles: &[Role], buffers: &Buffers<'_>) -> u32 {
    let bits = roles.iter().enumerate().map(|(i, role)| u32::from(buffers.get(*role).is_some()) << i);
    bits.sum()
}

impl Plan {
    /// Length and storage type of something that is learned.
    fn parameter(&self, role: Role) -> (usize, Option<Dtype>) {
        let len = self.parameter_len();
        let extra = Role::EXTRA.zip(self.extra_len().zip(self.extra)).into_array();
        match role {
            Role::Weight => (len, self.affine.weight),
            Role::Bias => (len, self.affine.bias),
            _ => extra.into_iter().find(|(own, _)| *own == role).map_or((0, None), |(_, parameter)| parameter),
        }
    }
}

impl Role {
    /// What a gradient is the gradient of; anything else is itself.
    fn of_what(self) -> Self {
        let extra = Self::GRAD_EXTRA.zip(Self::EXTRA).into_array();
        match self {
            Self::GradWeight => Self::Weight,
            Self::GradBias => Self::Bias,
            _ => extra.into_iter().find(|(gradient, _)| *gradient == self).map_or(self, |(_, of)| of),
        }
    }
}

impl Variant {
    /// The bindings that the entry point uses, by number. A test holds them against the shaders.
    pub fn bindings(&self) -> impl Iterator<Item = u32> + use<> {
        use Kernel::{
            Affine, AffineFlat, Average, Collect, Column, ColumnSums, Counter, Given, Gradient, GradientFlat, Merge,
            Mix, MomentsInflow, Nothing, Prepare, Publish, Resident, ResidentGradient, Running, Split, Streaming, Sums,
            Unmix, UnmixSums,
        };
        let v = *self;
        let reads_x = matches!(v.kernel, ResidentGradient | Sums | ColumnSums | Gradient | GradientFlat);
        let writes =
            matches!(v.kernel, Resident | Streaming | Affine | AffineFlat | ResidentGradient | Gradient | GradientFlat);
        let partials =
            matches!(v.kernel, Split | Column | Merge | ResidentGradient | Sums | ColumnSums | Collect | Unmix);
        let of_statistics = matches!(v.kernel, Average | Mix | Nothing | Publish | Unmix | UnmixSums | MomentsInflow);
        let statistics = matches!(v.kernel, Merge | Affine | AffineFlat | Given | Running)
            || of_statistics
            || v.saved == Some(Saved::Statistics)
            || reads_x;
        let running = matches!(v.kernel, Given | Running);
        let adds = matches!(v.residual, Some(Residual::Apart)) || v.inflow == Some(Inflow::Added);
        let sums = matches!(v.kernel, Gradient | GradientFlat | Unmix | UnmixSums | MomentsInflow)
            || v.collected == Some(Collected::Sums);
        let by_label = v.terms == Some(Terms::Classes) || v.picking == Some(Picking::Labelled);
        let prepared = v.kernel == Prepare
            || v.affine == Some(AffineSlot::Prepared)
            || v.epsilon == Some(Epsilon::Learned)
            || matches!(v.terms, Some(Terms::Classes | Terms::Shared));
        let mixes = matches!(v.kernel, Mix | Unmix);
        let (of_weight, of_bias) = v.collected.map_or((false, false), Collected::parameters);
        let used = [
            (SOURCE, v.placement == Some(Placement::Apart)),
            (RESULT, writes),
            (TASK, v.kernel != Counter),
            (WEIGHT, v.kernel == Prepare || matches!(v.affine, Some(AffineSlot::Scale | AffineSlot::ScaleShift))),
            (BIAS, v.kernel == Prepare || matches!(v.affine, Some(AffineSlot::Shift | AffineSlot::ScaleShift))),
            (STATISTICS, statistics),
            (PARTIALS, partials),
            (RUNNING_MEAN, running),
            (RUNNING_VAR, running),
            (COUNTER, v.kernel == Counter || v.momentum == Some(MomentumSlot::Cumulative)),
            (X, reads_x),
            (ADDED, adds),
            (SUM, matches!(v.residual, Some(Residual::Apart | Residual::InPlace))),
            (SUMS, sums),
            (GRAD_WEIGHT, of_weight),
            (GRAD_BIAS, of_bias),
            (PREPARED, prepared),
            (CLASS_WEIGHT, v.picking == Some(Picking::Labelled)),
            (CLASS_BIAS, v.picking == Some(Picking::Labelled)),
            (TAU, v.picking == Some(Picking::Own)),
            (EPS_L, v.picking == Some(Picking::Own)),
            (LABELS, by_label),
            (FLAG, v.picking == Some(Picking::Labelled)),
            (MEAN_WEIGHT, mixes),
            (VAR_WEIGHT, mixes),
            (MEAN, v.kernel == Publish),
            (STD, v.kernel == Publish),
            (GRAD_MEAN, v.kernel == MomentsInflow),
            (GRAD_STD, v.kernel == MomentsInflow),
            (OF_SHARES, v.kernel == Unmix),
        ];
        used.into_iter().filter(|(_, used)| *used).map(|(binding, _)| binding)
    }
}

/// A range of a buffer's bytes, beginning where a binding may.
struct Window {
    offset: u64,
    bytes: u64,
    /// Bytes from there to the first element meant.
    lead: u64,
}

impl Window {
    fn of<'a>(&self, slice: BufferSlice<'a>) -> wgpu::BufferBinding<'a> {
        wgpu::BufferBinding { buffer: slice.buffer(), offset: self.offset, size: std::num::NonZeroU64::new(self.bytes) }
    }

    /// What leads from the index of an element in the whole tensor to its index here, modulo 2^32.
    #[expect(clippy::cast_possible_truncation, reason = "modulo 2^32 on purpose")]
    fn shift(&self, first: u64, size: u64) -> u32 {
        (self.lead / size).wrapping_sub(first) as u32
    }
}
