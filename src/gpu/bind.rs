use super::device::scoped;
use super::prepare::Prepared;
use super::schedule::Step;
use super::uniforms::Task;
use super::variant::{AffineSlot, Kernel, MomentumSlot, Placement, Saved, Variant};
use crate::error::{Error, Result};
use crate::tensor::Dtype;
use std::ops::Range;
use wgpu::{BufferSlice, BufferUsages};

/// The buffers of one call, each with its offset and length.
#[derive(Debug, Clone, Copy)]
pub struct Buffers<'a> {
    input: BufferSlice<'a>,
    output: BufferSlice<'a>,
    weight: Option<BufferSlice<'a>>,
    bias: Option<BufferSlice<'a>>,
    running_mean: Option<BufferSlice<'a>>,
    running_var: Option<BufferSlice<'a>>,
    num_batches_tracked: Option<BufferSlice<'a>>,
}

impl<'a> Buffers<'a> {
    /// Input and output. They are different buffers, or the same slice of one where the plan was
    /// prepared to run in place.
    #[must_use]
    pub fn new(input: BufferSlice<'a>, output: BufferSlice<'a>) -> Self {
        Self {
            input,
            output,
            weight: None,
            bias: None,
            running_mean: None,
            running_var: None,
            num_batches_tracked: None,
        }
    }

    /// With a weight, stored as the plan was lowered with.
    #[must_use]
    pub fn weight(mut self, weight: BufferSlice<'a>) -> Self {
        self.weight = Some(weight);
        self
    }

    /// With a bias, stored as the plan was lowered with.
    #[must_use]
    pub fn bias(mut self, bias: BufferSlice<'a>) -> Self {
        self.bias = Some(bias);
        self
    }

    /// With running estimates in f32.
    #[must_use]
    pub fn running(mut self, mean: BufferSlice<'a>, var: BufferSlice<'a>) -> Self {
        self.running_mean = Some(mean);
        self.running_var = Some(var);
        self
    }

    /// With the counter of batches, a little-endian I64.
    #[must_use]
    pub fn num_batches_tracked(mut self, counter: BufferSlice<'a>) -> Self {
        self.num_batches_tracked = Some(counter);
        self
    }
}

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

/// One argument: its name, its slice, and what the kernels do with it.
struct Argument<'a> {
    name: &'static str,
    slice: BufferSlice<'a>,
    bytes: u64,
    alignment: u64,
    written: bool,
}

/// Memory that the kernels use between them.
struct Scratch {
    statistics: Option<wgpu::Buffer>,
    partials: Option<wgpu::Buffer>,
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
        let arguments = self.arguments(buffers)?;
        for argument in &arguments {
            check(argument)?;
        }
        self.check_aliasing(buffers, &arguments)?;
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

    /// Names and sizes of everything that was given, or what is missing or too much.
    fn arguments<'a>(&self, buffers: &Buffers<'a>) -> Result<Vec<Argument<'a>>> {
        let plan = &self.plan;
        let alignment = self.options.offset_alignment;
        let mut arguments = Vec::with_capacity(7);
        let mut add = |name, slice, bytes, alignment, written| {
            arguments.push(Argument { name, slice, bytes, alignment, written });
        };
        add("input", buffers.input, plan.tensor_bytes(), alignment, false);
        add("output", buffers.output, plan.tensor_bytes(), alignment, true);
        for (name, slice, dtype) in
            [("weight", buffers.weight, plan.affine.weight), ("bias", buffers.bias, plan.affine.bias)]
        {
            let bytes = (plan.affine.map.len * dtype.map_or(0, Dtype::size)) as u64;
            if let Some(slice) = expect(name, slice, dtype.is_some())? {
                add(name, slice, bytes, alignment, false);
            }
        }
        let channels = plan.running_len();
        let updates = plan.running_update().is_some();
        let storage = u64::from(self.gpu.capabilities.storage_alignment);
        for (name, slice) in [("running_mean", buffers.running_mean), ("running_var", buffers.running_var)] {
            if let Some(slice) = expect(name, slice, channels.is_some())? {
                add(name, slice, 4 * channels.unwrap_or(0) as u64, storage, updates);
            }
        }
        // In evaluation the counter may be there, and is left alone.
        let counts = plan.running_update().is_some_and(|u| u.counter);
        if counts || channels.is_none() {
            if let Some(slice) = expect("num_batches_tracked", buffers.num_batches_tracked, counts)? {
                add("num_batches_tracked", slice, 8, storage, true);
            }
        }
        Ok(arguments)
    }

    fn check_aliasing(&self, buffers: &Buffers<'_>, arguments: &[Argument<'_>]) -> Result<()> {
        let same = buffers.input == buffers.output;
        if self.options.in_place && !same {
            return Err(Error::Aliasing {
                written: "output",
                other: "input",
                expected: "the same slice of one buffer, since the plan was prepared to run in place",
            });
        }
        for written in arguments.iter().filter(|a| a.written) {
            for other in arguments.iter().filter(|a| a.name != written.name) {
                let shares = written.slice.buffer() == other.slice.buffer();
                let in_place = self.options.in_place && written.name == "output" && other.name == "input";
                let collide = share_a_dispatch(written.name, other.name) || overlap(written, other);
                if shares && collide && !in_place {
                    return Err(Error::Aliasing {
                        written: written.name,
                        other: other.name,
                        expected: "different buffers, since wgpu binds no buffer for reading and writing at once, \
                                   or the same slice and a plan prepared with in_place",
                    });
                }
            }
        }
        Ok(())
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
            partials: storage("wgpu-norm.partials", self.schedule.partials_bytes),
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
        let size = self.plan.dtype.size() as u64;
        let shift = |slice: Option<BufferSlice<'_>>, first: u64, size: u64| {
            slice.map_or(0, |slice| self.window(slice, first, first, size).shift(first, size))
        };
        let input = if step.variant.placement == Some(Placement::InPlace) { buffers.output } else { buffers.input };
        let parameter = |dtype: Option<Dtype>| dtype.map_or(1, Dtype::size) as u64;
        Task {
            input_shift: shift(Some(input), step.window.start, size),
            output_shift: shift(Some(buffers.output), step.window.start, size),
            weight_shift: shift(buffers.weight, step.parameters.start, parameter(self.plan.affine.weight)),
            bias_shift: shift(buffers.bias, step.parameters.start, parameter(self.plan.affine.bias)),
            ..step.task
        }
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
        let tensor = |slice| self.part(slice, &step.window, self.plan.dtype.size());
        let parameter = |slice, dtype: Dtype| self.part(slice, &step.parameters, dtype.size());
        match binding {
            INPUT => Some(tensor(buffers.input)),
            OUTPUT => Some(tensor(buffers.output)),
            TASK => {
                let size = std::num::NonZeroU64::new(size_of::<Task>() as u64);
                let buffer = scratch.tasks.as_ref()?;
                Some(wgpu::BufferBinding { buffer, offset: index as u64 * self.task_stride(), size })
            }
            WEIGHT => Some(parameter(buffers.weight?, affine.weight?)),
            BIAS => Some(parameter(buffers.bias?, affine.bias?)),
            STATISTICS => Some(scratch.statistics.as_ref()?.as_entire_buffer_binding()),
            PARTIALS => Some(scratch.partials.as_ref()?.as_entire_buffer_binding()),
            RUNNING_MEAN => Some(self.estimate(buffers.running_mean?)),
            RUNNING_VAR => Some(self.estimate(buffers.running_var?)),
            COUNTER => Some(
                Window { offset: buffers.num_batches_tracked?.offset(), bytes: 8, lead: 0 }
                    .of(buffers.num_batches_tracked?),
            ),
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
            Some(argument) => Error::ForeignBuffer { argument: argument.name, message },
            None => Error::Device(message),
        }
    }
}

const INPUT: u32 = 0;
const OUTPUT: u32 = 1;
const TASK: u32 = 2;
const WEIGHT: u32 = 3;
const BIAS: u32 = 4;
const STATISTICS: u32 = 5;
const PARTIALS: u32 = 6;
const RUNNING_MEAN: u32 = 7;
const RUNNING_VAR: u32 = 8;
const COUNTER: u32 = 9;

impl Variant {
    /// The bindings that the entry point uses, by number. A test holds them against the shaders.
    pub fn bindings(&self) -> impl Iterator<Item = u32> + use<> {
        let v = *self;
        let reads = v.placement == Some(Placement::Apart);
        let writes = matches!(v.kernel, Kernel::Resident | Kernel::Streaming | Kernel::Affine | Kernel::AffineFlat);
        let partials = matches!(v.kernel, Kernel::Split | Kernel::Column | Kernel::Merge);
        let statistics =
            matches!(v.kernel, Kernel::Merge | Kernel::Affine | Kernel::AffineFlat | Kernel::Given | Kernel::Running)
                || v.saved == Some(Saved::Statistics);
        let running = matches!(v.kernel, Kernel::Given | Kernel::Running);
        let used = [
            (INPUT, reads),
            (OUTPUT, writes),
            (TASK, v.kernel != Kernel::Counter),
            (WEIGHT, matches!(v.affine, Some(AffineSlot::Scale | AffineSlot::ScaleShift))),
            (BIAS, matches!(v.affine, Some(AffineSlot::Shift | AffineSlot::ScaleShift))),
            (STATISTICS, statistics),
            (PARTIALS, partials),
            (RUNNING_MEAN, running),
            (RUNNING_VAR, running),
            (COUNTER, v.kernel == Kernel::Counter || v.momentum == Some(MomentumSlot::Cumulative)),
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

fn check(argument: &Argument<'_>) -> Result<()> {
    let &Argument { name, slice, bytes, alignment, .. } = argument;
    if !slice.buffer().usage().contains(BufferUsages::STORAGE) {
        let got = format!("{:?}", slice.buffer().usage());
        return Err(Error::BufferUsage { argument: name, got, expected: "STORAGE" });
    }
    if slice.offset() % alignment != 0 {
        return Err(Error::BufferOffset { argument: name, got: slice.offset(), alignment });
    }
    // Bindings are whole words, so a tensor of an odd number of halves needs the rest of its last one.
    let bytes = bytes.next_multiple_of(4);
    let beyond = slice.offset() + bytes > slice.buffer().size();
    if slice.size() < argument.bytes || beyond {
        let got = slice.buffer().size().min(slice.offset() + slice.size());
        return Err(Error::BufferSize {
            argument: name,
            got,
            expected: slice.offset() + bytes,
            offset: slice.offset(),
        });
    }
    Ok(())
}

fn expect<'a>(name: &'static str, given: Option<BufferSlice<'a>>, wanted: bool) -> Result<Option<BufferSlice<'a>>> {
    match (given, wanted) {
        (None, true) => Err(Error::Missing { argument: name, reason: "the plan was lowered with it" }),
        (Some(_), false) => Err(Error::Unexpected { argument: name, reason: "the plan was lowered without it" }),
        (given, _) => Ok(given),
    }
}

/// Whether some dispatch binds both, one of them to be written: then they have to be different buffers, since
/// wgpu binds no buffer for reading and writing at once.
fn share_a_dispatch(written: &str, other: &str) -> bool {
    matches!(
        (written, other),
        ("output", "input" | "weight" | "bias") | ("running_mean" | "running_var", "num_batches_tracked")
    )
}

fn overlap(one: &Argument<'_>, other: &Argument<'_>) -> bool {
    let end = |a: &Argument<'_>| a.slice.offset() + a.bytes;
    one.slice.offset() < end(other) && other.slice.offset() < end(one)
}
