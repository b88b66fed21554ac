//! Passes on a GPU, with everything already there, and the adapter's own copies to compare them with.

use super::clock::{Time, time};
use super::workloads::Problem;
use wgpu_norm::gpu::{Bound, Buffers, Gpu, Options, optional_features, required_features};
use wgpu_norm::plan::{Extra, Gradients};
use wgpu_norm::wgpu::util::DeviceExt;
use wgpu_norm::{Data, Error, Result, Wanted, wgpu};

/// Bytes that a round of calls touches at least, so that no cache holds it.
const ROUND: u64 = 128 << 20;
/// Sets of buffers at most.
const MOST_SETS: u64 = 64;

/// A device of the benchmark's own.
pub(super) struct Device {
    device: wgpu::Device,
    queue: wgpu::Queue,
    gpu: Gpu,
    options: Options,
    copy: wgpu::ComputePipeline,
}

/// What was measured of a pass.
pub(super) struct Measured {
    pub(super) time: Time,
    /// Bytes of the tensors that a call reads and writes.
    pub(super) bytes: u64,
    pub(super) strategy: &'static str,
    /// What came out, the output or the input's gradient first.
    pub(super) results: Vec<Data>,
}

impl Device {
    /// `options` are what every plan is prepared with.
    pub(super) fn open(adapter: &wgpu::Adapter, options: Options) -> Result<Self> {
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("wgpu-norm bench"),
            required_features: required_features() | optional_features(adapter),
            required_limits: adapter.limits(),
            ..Default::default()
        };
        let opened = pollster::block_on(adapter.request_device(&descriptor));
        let (device, queue) = opened.map_err(|error| Error::Device(error.to_string()))?;
        let module = device.create_shader_module(wgpu::include_wgsl!("copy.wgsl"));
        let copy = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("copy"),
            layout: None,
            module: &module,
            entry_point: Some("copy"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        Ok(Self { gpu: Gpu::new(&device), device, queue, options, copy })
    }

    /// Seconds that the copy kernel takes for a buffer of so many bytes.
    pub(super) fn copy_kernel(&self, bytes: u64) -> Result<Time> {
        let bytes = bytes.next_multiple_of(16);
        let sets: Vec<wgpu::BindGroup> = (0..sets(2 * bytes)).map(|_| self.copy_set(bytes)).collect();
        let groups = u32::try_from(bytes.div_ceil(16 * 64)).unwrap_or(u32::MAX);
        let width = groups.min(32768);
        self.timed(|pass, call| {
            pass.set_pipeline(&self.copy);
            pass.set_bind_group(0, &sets[call % sets.len()], &[]);
            pass.dispatch_workgroups(width, groups.div_ceil(width), 1);
        })
    }

    fn copy_set(&self, bytes: u64) -> wgpu::BindGroup {
        let [input, output] = [self.empty(bytes), self.empty(bytes)];
        self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("copy"),
            layout: &self.copy.get_bind_group_layout(0),
            entries: &[entry(0, &input), entry(1, &output)],
        })
    }

    /// The time of one call, from batches that are submitted whole.
    fn timed(&self, record: impl Fn(&mut wgpu::ComputePass<'_>, usize)) -> Result<Time> {
        time(|calls| {
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                (0..calls as usize).for_each(|call| record(&mut pass, call));
            }
            self.queue.submit([encoder.finish()]);
            self.wait()
        })
    }

    fn wait(&self) -> Result<()> {
        let waited = self.device.poll(wgpu::PollType::wait_indefinitely());
        waited.map(drop).map_err(|error| Error::Device(error.to_string()))
    }

    pub(super) fn forward(&self, problem: &Problem) -> Result<Measured> {
        let prepared = self.gpu.prepare(&problem.plan, &self.options)?;
        let sets: Vec<Set> =
            (0..sets(2 * problem.plan.tensor_bytes())).map(|_| Set::new(self, problem, None)).collect();
        let bound = sets.iter().map(|set| prepared.bind(&set.forward(problem, false))).collect::<Result<Vec<_>>>()?;
        let time = self.timed(|pass, call| bound[call % bound.len()].record(pass))?;
        let results = vec![self.read(&sets[0].output, &problem.input)?];
        Ok(Measured { time, bytes: prepared.bytes_moved(), strategy: prepared.strategy().name(), results })
    }

    pub(super) fn backward(&self, problem: &Problem) -> Result<Measured> {
        let wanted = Wanted::all(&problem.plan);
        let kept = self.gpu.prepare(&problem.plan, &self.options.save_statistics(true))?;
        let prepared = self.gpu.prepare_backward(&problem.plan, wanted, &self.options)?;
        let sets: Vec<Set> =
            (0..sets(3 * problem.plan.tensor_bytes())).map(|_| Set::new(self, problem, Some(wanted))).collect();
        for set in &sets {
            self.submit(&kept.bind(&set.forward(problem, true))?)?;
        }
        let bound = sets.iter().map(|set| prepared.bind(&set.backward())).collect::<Result<Vec<_>>>()?;
        let time = self.timed(|pass, call| bound[call % bound.len()].record(pass))?;
        let (of_input, of_parameters) = (&sets[0].output, [&sets[0].of_weight, &sets[0].of_bias]);
        let mut results = vec![self.read(of_input, &problem.input)?];
        for (buffer, like) in of_parameters.into_iter().zip([&problem.weight, &problem.bias]) {
            if let (Some(buffer), Some(like)) = (buffer, like) {
                results.push(self.read(buffer, like)?);
            }
        }
        Ok(Measured { time, bytes: prepared.bytes_moved(), strategy: prepared.strategy().name(), results })
    }

    fn submit(&self, bound: &Bound) -> Result<()> {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        bound.record_pass(&mut encoder);
        self.queue.submit([encoder.finish()]);
        self.wait()
    }

    fn upload(&self, bytes: &[u8]) -> wgpu::Buffer {
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().next_multiple_of(4).max(4), 0);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        self.device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: None, contents: &padded, usage })
    }

    fn empty(&self, bytes: u64) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes.next_multiple_of(4).max(16),
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        })
    }

    /// A buffer's content, stored as `like` is.
    fn read(&self, buffer: &wgpu::Buffer, like: &Data) -> Result<Data> {
        let failed = |error: &dyn std::fmt::Display| Error::Device(error.to_string());
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: buffer.size(),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size());
        self.queue.submit([encoder.finish()]);
        // Whether it worked shows when the range is asked for.
        staging.slice(..).map_async(wgpu::MapMode::Read, |_| ());
        self.wait()?;
        let view = staging.slice(..).get_mapped_range().map_err(|error| failed(&error))?;
        let mut data = like.clone();
        let len = data.bytes().len();
        data.bytes_mut().copy_from_slice(&view[..len]);
        Ok(data)
    }
}

fn entry(binding: u32, buffer: &wgpu::Buffer) -> wgpu::BindGroupEntry<'_> {
    let resource = wgpu::BindingResource::Buffer(buffer.as_entire_buffer_binding());
    wgpu::BindGroupEntry { binding, resource }
}

/// Sets of buffers that calls take in turn, where one call touches so many bytes.
fn sets(bytes: u64) -> u64 {
    ROUND.div_ceil(bytes.max(1)).clamp(1, MOST_SETS)
}

/// The buffers of a call.
struct Set {
    input: wgpu::Buffer,
    grad_output: Option<wgpu::Buffer>,
    /// Of a backward pass the input's gradient.
    output: wgpu::Buffer,
    statistics: wgpu::Buffer,
    weight: Option<wgpu::Buffer>,
    bias: Option<wgpu::Buffer>,
    of_weight: Option<wgpu::Buffer>,
    of_bias: Option<wgpu::Buffer>,
    extra: Extra<Option<wgpu::Buffer>>,
    of_extra: Extra<Option<wgpu::Buffer>>,
    running: Option<[wgpu::Buffer; 3]>,
}

impl Set {
    /// With places for gradients where any are `wanted`.
    fn new(on: &Device, problem: &Problem, wanted: Option<Wanted>) -> Self {
        let upload = |data: &Data| on.upload(data.bytes());
        let gradients = Gradients::zeros(&problem.plan, wanted.unwrap_or(NOTHING));
        Self {
            input: upload(&problem.input),
            grad_output: wanted.map(|_| upload(&problem.grad_output)),
            output: on.empty(problem.plan.tensor_bytes()),
            statistics: on.empty(16 * problem.plan.kept_statistics() as u64),
            weight: problem.weight.as_ref().map(upload),
            bias: problem.bias.as_ref().map(upload),
            of_weight: gradients.weight.as_ref().map(upload),
            of_bias: gradients.bias.as_ref().map(upload),
            extra: problem.extra.as_ref().map(|data| data.as_ref().map(upload)),
            of_extra: gradients.extra.as_ref().map(|data| data.as_ref().map(upload)),
            running: problem.running.as_ref().map(|running| {
                let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
                [bytes(&running.mean), bytes(&running.var), vec![0; 8]].map(|bytes| on.upload(&bytes))
            }),
        }
    }

    fn forward(&self, problem: &Problem, saves: bool) -> Buffers<'_> {
        let mut buffers = self.parameters(Buffers::new(self.input.slice(..), self.output.slice(..)));
        if saves {
            buffers = buffers.statistics(self.statistics.slice(..));
        }
        if let Some([mean, var, counter]) = &self.running {
            buffers = buffers.running(mean.slice(..), var.slice(..));
            if problem.plan.running_update().is_some_and(|update| update.counter) {
                buffers = buffers.num_batches_tracked(counter.slice(..));
            }
        }
        buffers
    }

    fn backward(&self) -> Buffers<'_> {
        let grad_output = self.grad_output.as_ref().unwrap_or(&self.input);
        let buffers = Buffers::backward(self.input.slice(..), grad_output.slice(..), self.statistics.slice(..));
        let mut buffers = self.parameters(buffers).grad_input(self.output.slice(..));
        if let Some(buffer) = &self.of_weight {
            buffers = buffers.grad_weight(buffer.slice(..));
        }
        if let Some(buffer) = &self.of_bias {
            buffers = buffers.grad_bias(buffer.slice(..));
        }
        buffers.grad_extra(self.of_extra.as_ref().map(|buffer| buffer.as_ref().map(|buffer| buffer.slice(..))))
    }

    fn parameters<'a>(&'a self, mut buffers: Buffers<'a>) -> Buffers<'a> {
        if let Some(weight) = &self.weight {
            buffers = buffers.weight(weight.slice(..));
        }
        if let Some(bias) = &self.bias {
            buffers = buffers.bias(bias.slice(..));
        }
        buffers.extra(self.extra.as_ref().map(|buffer| buffer.as_ref().map(|buffer| buffer.slice(..))))
    }
}

const NOTHING: Wanted = Wanted { input: false, weight: false, bias: false, extra: false };
