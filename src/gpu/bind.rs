use super::buffers::{Argument, Buffers, check_aliasing, written_shares_a_buffer};
use super::planner::{Pool, Step};
use super::prepare::{Pass, Prepared};
use super::role::Role;
use super::scope::{lost, scoped};
use super::slots::{Collected, Kernel, Placement, Terms, Tracked};
use super::uniforms::Task;
use crate::error::{Error, Result};
use crate::plan::Tables;
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
pub(super) struct Scratch {
    pub(super) statistics: Option<wgpu::Buffer>,
    pub(super) pools: [Option<wgpu::Buffer>; 8],
    pub(super) tasks: Option<wgpu::Buffer>,
}

impl Prepared {
    /// Checks the buffers and makes the bind groups. Once a set of buffers.
    ///
    /// Running estimates, and gradients of weight and bias, that lie in one buffer with what is read are written by dispatches
    /// of their own, whatever [`workgroups`](Self::workgroups), [`labels`](Self::labels) and
    /// [`scratch_size`](Self::scratch_size) say of others; their kernels are compiled here, the first time.
    ///
    /// # Errors
    ///
    /// When a buffer is missing or not expected, too small, without `STORAGE` among its usages, at an
    /// offset that is no multiple of what it has to be (of a tensor, what the plan was prepared with), of another device,
    /// or shares memory with a buffer that is written; when the device has no memory for the scratch; where kernels are compiled
    /// here, as [`Gpu::prepare`](super::Gpu::prepare); and when the device was lost.
    pub fn bind(&self, buffers: &Buffers<'_>) -> Result<Bound> {
        let arguments = self.arguments(buffers)?;
        check_aliasing(&arguments, &self.same())?;
        if self.schedule.steps.iter().any(Step::writes_beside) && written_shares_a_buffer(&arguments) {
            return self.apart()?.bind(buffers);
        }
        if self.schedule.steps.is_empty() {
            return Ok(Bound { steps: Vec::new() });
        }
        let bind = || {
            let scratch = self.scratch(buffers);
            let steps = self.schedule.steps.iter().zip(&self.pipelines).enumerate();
            let bound = |(i, (step, pipeline))| self.bind_step(i, step, pipeline, buffers, &scratch);
            (scratch.tasks.is_some(), steps.map(bound).collect())
        };
        let made = scoped(&self.gpu, bind, Error::Device);
        let (mapped, steps) = made.map_err(|error| match error {
            Error::Device(message) => self.blame(&arguments, message),
            other => other,
        })?;
        if mapped { Ok(Bound { steps }) } else { Err(lost()) }
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
    pub(super) fn task_stride(&self) -> u64 {
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
        let parameter = |role, dtype: Option<Dtype>| shift(role, step.parameters.start, dtype.map_or(1, Dtype::size));
        let replaced = step.variant.placement == Some(Placement::InPlace);
        let mut task = Task {
            input_shift: tensor(if replaced { self.result() } else { step.source }),
            output_shift: tensor(self.result()),
            weight_shift: parameter(Role::Weight, self.plan.affine.weight),
            bias_shift: parameter(Role::Bias, self.plan.affine.bias),
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
        // Counted in words, of which the first belongs to an even statistic or parameter.
        let in_words =
            |role, first, size| buffers.get(role).map_or(0, |slice| self.window(slice, first, first, size).shift(0, 4));
        match step.variant.kernel {
            Kernel::Collect | Kernel::ColumnSums => step.gradients.map(|role| in_words(role, 0, 4)),
            Kernel::Prepare => {
                let [one, other] = self.picked_roles();
                [shift(one, 0, stored(one)), shift(other, 0, stored(other))]
            }
            Kernel::Mix | Kernel::Unmix => [Role::MeanWeight, Role::VarWeight].map(|role| shift(role, 0, stored(role))),
            Kernel::Publish => [Role::Mean, Role::Std].map(|role| in_words(role, first, size)),
            Kernel::MomentsInflow => [Role::GradMean, Role::GradStd].map(|role| shift(role, first, size)),
            _ => [0; 2],
        }
    }

    /// What the prepare kernel reads beside weight and bias.
    pub(super) fn picked_roles(&self) -> [Role; 2] {
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
    pub(super) fn result(&self) -> Role {
        if self.pass == Pass::Forward { Role::Output } else { Role::GradInput }
    }

    /// The tensor that the pass adds.
    pub(super) fn added(&self) -> Role {
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

    pub(super) fn part<'a>(
        &self,
        slice: BufferSlice<'a>,
        elements: &Range<u64>,
        size: usize,
    ) -> wgpu::BufferBinding<'a> {
        self.window(slice, elements.start, elements.end, size as u64).of(slice)
    }

    /// Parameters, and those that share a pack of four with the last.
    pub(super) fn in_whole_packs(&self, parameters: &Range<u64>) -> Range<u64> {
        parameters.start..parameters.end.next_multiple_of(4).min(self.plan.affine.map.len as u64)
    }

    /// A running estimate, whole.
    pub(super) fn estimate<'a>(&self, slice: BufferSlice<'a>) -> wgpu::BufferBinding<'a> {
        let bytes = 4 * self.plan.running_len().unwrap_or(0) as u64;
        Window { offset: slice.offset(), bytes, lead: 0 }.of(slice)
    }

    /// The error for what wgpu refused: the first argument that it refuses alone, or the device.
    fn blame(&self, arguments: &[Argument<'_>], message: String) -> Error {
        let device = &self.gpu.device;
        let refused = |argument: &&Argument<'_>| {
            let probe = || {
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
            };
            scoped(&self.gpu, probe, Error::Device).is_err()
        };
        match arguments.iter().find(refused) {
            Some(argument) => Error::ForeignBuffer { argument: argument.role.name(), message },
            None => Error::Device(message),
        }
    }
}

impl Step {
    /// Whether it binds running estimates, or gradients of parameters, to be written beside arguments to be read.
    fn writes_beside(&self) -> bool {
        let tracks = self.variant.tracked == Some(Tracked::Estimates);
        match self.variant.kernel {
            Kernel::Merge | Kernel::Average => false,
            Kernel::Collect => self.variant.terms == Some(Terms::Channels),
            Kernel::ColumnSums => self.variant.collected != Some(Collected::Parts),
            _ => tracks,
        }
    }
}

/// What the prepare kernel may read, in the order of the bits that say whether it is there.
pub(super) const PREPARED_FROM: [Role; 6] =
    [Role::Weight, Role::Bias, Role::ClassWeight, Role::ClassBias, Role::Tau, Role::EpsL];

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

/// A range of a buffer's bytes, beginning where a binding may.
pub(super) struct Window {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    /// Bytes from there to the first element meant.
    pub(super) lead: u64,
}

impl Window {
    pub(super) fn of<'a>(&self, slice: BufferSlice<'a>) -> wgpu::BufferBinding<'a> {
        wgpu::BufferBinding { buffer: slice.buffer(), offset: self.offset, size: std::num::NonZeroU64::new(self.bytes) }
    }

    /// What leads from the index of an element in the whole tensor to its index here, modulo 2^32.
    #[expect(clippy::cast_possible_truncation, reason = "modulo 2^32 on purpose")]
    fn shift(&self, first: u64, size: u64) -> u32 {
        (self.lead / size).wrapping_sub(first) as u32
    }
}
