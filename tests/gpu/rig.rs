//! Every adapter of this machine as a device under test: guard words round every buffer, a sentinel in
//! every output, and any validation message a failure.

use std::sync::{Arc, Mutex};
use wgpu::util::DeviceExt;
use wgpu::{Buffer, BufferUsages};
use wgpu_norm::gpu::{Bound, Buffers, Capabilities, Gpu, Options};
use wgpu_norm::plan::{Extra, Gradients, Plan};
use wgpu_norm::{Choice, Data, Error, RunningStatistics, Wanted};

/// A byte that no kernel writes by accident: as f32, f16 and bf16 a NaN.
const SENTINEL: u8 = 0xff;
/// Bytes of guard behind each buffer.
const GUARD: usize = 64;

/// A device under test.
#[derive(Clone)]
pub(crate) struct Rig {
    pub(crate) name: String,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) gpu: Gpu,
    pub(crate) adapter: wgpu::Adapter,
    /// Where several interfaces reach one device: which of them this is, and of how many.
    turn: (usize, usize),
    complaints: Arc<Mutex<Vec<String>>>,
}

/// One execution of a plan.
#[derive(Clone)]
pub(crate) struct Call<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) options: Options,
    pub(crate) input: Data,
    pub(crate) weight: Option<Data>,
    pub(crate) bias: Option<Data>,
    pub(crate) running: Option<RunningStatistics>,
    pub(crate) residual: Option<Data>,
    pub(crate) extra: Extra<Option<Data>>,
    pub(crate) labels: Option<Vec<i64>>,
    /// Bytes before the tensor in its buffer.
    pub(crate) offset: u64,
}

impl<'a> Call<'a> {
    /// Of an input alone.
    pub(crate) fn new(plan: &'a Plan, options: Options, input: Data) -> Self {
        let (weight, bias, running, residual) = (None, None, None, None);
        let (extra, labels, offset) = (Extra::default(), None, 0);
        Self { plan, options, input, weight, bias, running, residual, extra, labels, offset }
    }
}

/// What came out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) output: Data,
    pub(crate) running: Option<RunningStatistics>,
    pub(crate) sum: Option<Data>,
    /// Where they were asked for: of each statistic the mean, its tail, rstd and variance.
    pub(crate) statistics: Vec<[f32; 4]>,
    /// Where they were asked for: mean and deviation of each group.
    pub(crate) moments: Option<[Data; 2]>,
    /// Whether a label had no row.
    pub(crate) flag: u32,
}

/// One execution of a plan's backward pass.
#[derive(Clone)]
pub(crate) struct BackwardCall<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) options: Options,
    pub(crate) wanted: Wanted,
    pub(crate) input: Data,
    pub(crate) grad_output: Data,
    pub(crate) grad_sum: Option<Data>,
    pub(crate) statistics: Vec<[f32; 4]>,
    pub(crate) weight: Option<Data>,
    pub(crate) bias: Option<Data>,
    pub(crate) extra: Extra<Option<Data>>,
    pub(crate) labels: Option<Vec<i64>>,
    /// What flows into mean and deviation of each group.
    pub(crate) grad_moments: [Option<Data>; 2],
    /// Bytes before each tensor in its buffer.
    pub(crate) offset: u64,
}

/// Whether GPU tests are turned off by `WGPU_NORM_TEST_GPU=off`; the test then says so.
pub(crate) fn turned_off() -> bool {
    let off = std::env::var("WGPU_NORM_TEST_GPU").is_ok_and(|v| v == "off");
    if off {
        println!("GPU tests are turned off by WGPU_NORM_TEST_GPU=off");
    }
    off
}

/// Every adapter, or a failure that says what to install. Empty only when GPU tests are turned off.
pub(crate) fn rigs() -> Vec<Rig> {
    if turned_off() {
        return Vec::new();
    }
    let mut rigs: Vec<Rig> = pollster::block_on(Choice::all())
        .into_iter()
        .filter_map(|choice| match &choice {
            Choice::Adapter { adapter, .. } => Some(Rig::new(choice.name(), adapter)),
            _ => None,
        })
        .collect();
    assert!(
        !rigs.is_empty(),
        "no Vulkan or GL adapter: install one (Debian: mesa-vulkan-drivers libvulkan1 libegl1 libgles2 libgl1-mesa-dri), \
         or set WGPU_NORM_TEST_GPU=off to leave GPU tests out"
    );
    let names: Vec<String> = rigs.iter().map(|rig| rig.adapter.get_info().name).collect();
    for (number, rig) in rigs.iter_mut().enumerate() {
        let of_the_same = |names: &[String]| names.iter().filter(|&name| *name == rig.adapter.get_info().name).count();
        rig.turn = (of_the_same(&names[..number]), of_the_same(&names));
    }
    rigs
}

impl Rig {
    pub(crate) fn new(name: String, adapter: &wgpu::Adapter) -> Self {
        let descriptor = wgpu::DeviceDescriptor {
            required_features: wgpu_norm::gpu::optional_features(adapter),
            required_limits: adapter.limits(),
            ..Default::default()
        };
        let (device, queue) =
            pollster::block_on(adapter.request_device(&descriptor)).expect("the adapter gives a device");
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&complaints);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            heard.lock().expect("no panic while locked").push(error.to_string());
        }));
        Self { name, gpu: Gpu::new(&device), adapter: adapter.clone(), turn: (0, 1), device, queue, complaints }
    }

    /// The same device with the kernels laid out as for a GPU with wide workgroups.
    pub(crate) fn as_discrete(&self) -> Self {
        self.assuming(" with wide workgroups", |capabilities| capabilities.emulated = false)
    }

    /// The same device as if a processor stood in for it.
    pub(crate) fn as_emulated(&self) -> Self {
        self.assuming(" with narrow workgroups", |capabilities| capabilities.emulated = true)
    }

    /// The same device as if its bindings were this small, so that small tensors come in many pieces.
    pub(crate) fn with_bindings_of(&self, bytes: u64) -> Self {
        self.assuming(" with small bindings", |capabilities| capabilities.max_binding = bytes)
    }

    /// The same device, whose kernels are compiled once for all that is assumed of it.
    fn assuming(&self, name: &str, change: impl FnOnce(&mut Capabilities)) -> Self {
        let mut capabilities = *self.gpu.capabilities();
        change(&mut capabilities);
        let gpu = self.gpu.clone().assuming(capabilities);
        Self { name: format!("{}{name}", self.name), gpu, ..self.clone() }
    }

    /// Another device of the same adapter.
    pub(crate) fn sibling(&self) -> Self {
        Self { turn: self.turn, ..Self::new(self.name.clone(), &self.adapter) }
    }

    /// The engine on another device of the same adapter, which has these features and limits and no others.
    pub(crate) fn limited(&self, required_features: wgpu::Features, required_limits: wgpu::Limits) -> Gpu {
        let descriptor = wgpu::DeviceDescriptor { required_features, required_limits, ..Default::default() };
        let (device, _) = pollster::block_on(self.adapter.request_device(&descriptor)).expect("there is a device");
        Gpu::new(&device)
    }

    /// Whether a way is this adapter's turn.
    pub(crate) fn takes(&self, way: usize) -> bool {
        let (own, all) = self.turn;
        way % all == own
    }

    /// What the device can do under these options.
    pub(crate) fn capabilities(&self, options: &Options) -> Capabilities {
        let mut capabilities = *self.gpu.capabilities();
        capabilities.native_f16 &= options.native_f16;
        capabilities
    }

    /// What wgpu complained of since the last time.
    pub(crate) fn complaints(&self) -> Vec<String> {
        std::mem::take(&mut *self.complaints.lock().expect("no panic while locked"))
    }

    /// A storage buffer of `offset` guard bytes, the content, and more guard bytes.
    pub(crate) fn guarded(&self, offset: u64, content: &[u8]) -> Buffer {
        let offset = usize::try_from(offset).expect("small");
        let mut bytes = vec![SENTINEL; (offset + content.len() + GUARD).next_multiple_of(4)];
        bytes[offset..offset + content.len()].copy_from_slice(content);
        self.device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: Some("guarded"),
            contents: &bytes,
            usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC,
        })
    }

    /// All bytes of a buffer.
    pub(crate) fn read(&self, buffer: &Buffer) -> Vec<u8> {
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("staging"),
            size: buffer.size(),
            usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size());
        self.queue.submit([encoder.finish()]);
        staging.slice(..).map_async(wgpu::MapMode::Read, |result| result.expect("mapped"));
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("polled");
        let view = staging.slice(..).get_mapped_range().expect("mapped");
        view.to_vec()
    }

    /// Executes a plan by prepare, bind and record, and checks every guard byte.
    pub(crate) fn run(&self, call: &Call<'_>) -> Result<Outcome, Error> {
        let prepared = self.gpu.prepare(call.plan, &call.options)?;
        let bytes = call.input.bytes().len();
        let offset = call.offset;
        let end = offset + bytes as u64;
        let input = self.guarded(offset, call.input.bytes());
        let output = if call.options.in_place { input.clone() } else { self.guarded(offset, &vec![SENTINEL; bytes]) };
        let weight = call.weight.as_ref().map(|w| self.guarded(offset, w.bytes()));
        let bias = call.bias.as_ref().map(|b| self.guarded(offset, b.bytes()));
        let running = call.running.as_ref().map(|r| {
            let counter = r.num_batches_tracked.unwrap_or(0);
            let make = |bytes: &[u8]| self.guarded(0, bytes);
            (
                make(bytemuck::cast_slice(&r.mean)),
                make(bytemuck::cast_slice(&r.var)),
                make(bytemuck::bytes_of(&counter)),
            )
        });
        // An empty tensor has an empty slice, which wgpu does not make.
        let to = end.max(offset + 4);
        let mut buffers = Buffers::new(input.slice(offset..to), output.slice(offset..to))
            .weight(from(offset, &weight))
            .bias(from(offset, &bias));
        if let Some((mean, var, counter)) = &running {
            buffers = buffers.running(mean.slice(..), var.slice(..));
            if call.plan.running_update().is_some_and(|u| u.counter) {
                buffers = buffers.num_batches_tracked(counter.slice(..));
            }
        }
        let residual = call.residual.as_ref().map(|r| self.guarded(offset, r.bytes()));
        let sum = residual.as_ref().map(|residual| {
            if call.options.sum_in_place { residual.clone() } else { self.guarded(offset, &vec![SENTINEL; bytes]) }
        });
        buffers = buffers.residual(from(offset, &residual), from(offset, &sum));
        let statistics = call.options.save_statistics.then(|| {
            // At an offset of its own, which is no multiple of a binding's.
            self.guarded(48, &vec![SENTINEL; 16 * call.plan.kept_statistics()])
        });
        let extra = call.extra.as_ref().map(|data| data.as_ref().map(|data| self.guarded(offset, data.bytes())));
        buffers = buffers.statistics(from(48, &statistics)).extra(extra.as_ref().map(|buffer| from(offset, buffer)));
        let labels = call.labels.as_ref().map(|labels| self.guarded(0, bytemuck::cast_slice(labels)));
        let flag = self.guarded(0, &[0; 4]);
        if let Some(labels) = &labels {
            buffers = buffers.labels(labels.slice(..)).error_flag(flag.slice(..));
        }
        let a_group = Data::zeros(call.plan.dtype(), call.plan.view().statistics());
        let moments =
            call.options.moments.then(|| [0; 2].map(|_| self.guarded(offset, &vec![SENTINEL; a_group.bytes().len()])));
        if let Some([mean, std]) = &moments {
            buffers = buffers.moments(mean.slice(offset..), std.slice(offset..));
        }
        self.submit(&prepared.bind(&buffers)?);

        let mut result = Data::zeros(call.input.dtype(), call.input.len());
        self.fetch(&output, offset, result.bytes_mut());
        if !call.options.in_place {
            let mut untouched = Data::zeros(call.input.dtype(), call.input.len());
            self.fetch(&input, offset, untouched.bytes_mut());
            assert_eq!(untouched.bytes(), call.input.bytes(), "{}: the input was written", self.name);
        }
        let running = running.zip(call.running.clone()).map(|((mean, var, counter), mut after)| {
            self.fetch(&mean, 0, bytemuck::cast_slice_mut(&mut after.mean));
            self.fetch(&var, 0, bytemuck::cast_slice_mut(&mut after.var));
            let mut batches = 0u64;
            self.fetch(&counter, 0, bytemuck::bytes_of_mut(&mut batches));
            after.num_batches_tracked = after.num_batches_tracked.map(|_| batches);
            after
        });
        let sum = sum.map(|sum| {
            let mut data = Data::zeros(call.input.dtype(), call.input.len());
            self.fetch(&sum, offset, data.bytes_mut());
            data
        });
        let statistics = statistics.map(|buffer| {
            let mut entries = vec![[0f32; 4]; call.plan.kept_statistics()];
            self.fetch(&buffer, 48, bytemuck::cast_slice_mut(&mut entries));
            entries
        });
        let moments = moments.map(|buffers| {
            buffers.map(|buffer| {
                let mut data = a_group.clone();
                self.fetch(&buffer, offset, data.bytes_mut());
                data
            })
        });
        let mut raised = 0u32;
        self.fetch(&flag, 0, bytemuck::bytes_of_mut(&mut raised));
        let complaints = self.complaints();
        assert!(complaints.is_empty(), "{}: wgpu complained: {complaints:?}", self.name);
        let statistics = statistics.unwrap_or_default();
        Ok(Outcome { output: result, running, sum, statistics, moments, flag: raised })
    }

    /// Executes a plan's backward pass, and checks every guard byte.
    pub(crate) fn run_backward(&self, call: &BackwardCall<'_>) -> Result<Gradients, Error> {
        let prepared = self.gpu.prepare_backward(call.plan, call.wanted, &call.options)?;
        let offset = call.offset;
        let guarded = |data: &Data| self.guarded(offset, data.bytes());
        let mut gradients = Gradients::zeros(call.plan, call.wanted);
        let to = (offset + call.input.bytes().len() as u64).max(offset + 4);
        let (input, grad_output) = (guarded(&call.input), guarded(&call.grad_output));
        let statistics = self.guarded(32, bytemuck::cast_slice(&call.statistics));
        let [weight, bias, grad_sum] =
            [&call.weight, &call.bias, &call.grad_sum].map(|data| data.as_ref().map(guarded));
        let extra = call.extra.as_ref().map(|data| data.as_ref().map(guarded));
        let labels = call.labels.as_ref().map(|labels| self.guarded(0, bytemuck::cast_slice(labels)));
        let mut buffers =
            Buffers::backward(input.slice(offset..to), grad_output.slice(offset..to), statistics.slice(32..))
                .weight(from(offset, &weight))
                .bias(from(offset, &bias))
                .grad_sum(from(offset, &grad_sum))
                .extra(extra.as_ref().map(|buffer| from(offset, buffer)))
                .labels(from(0, &labels));
        let [of_mean, of_std] = call.grad_moments.each_ref().map(|data| data.as_ref().map(guarded));
        if call.options.moments {
            buffers = buffers.grad_moments(from(offset, &of_mean), from(offset, &of_std));
        }
        let place =
            |data: &Option<Data>| data.as_ref().map(|data| self.guarded(offset, &vec![SENTINEL; data.bytes().len()]));
        let of_input = if call.options.in_place { Some(grad_output.clone()) } else { place(&gradients.input) };
        let (of_weight, of_bias) = (place(&gradients.weight), place(&gradients.bias));
        if let Some(buffer) = of_input.as_ref().filter(|_| call.wanted.input) {
            buffers = buffers.grad_input(buffer.slice(offset..to));
        }
        let of_extra = gradients.extra.as_ref().map(place);
        buffers = buffers
            .grad_weight(from(offset, &of_weight))
            .grad_bias(from(offset, &of_bias))
            .grad_extra(of_extra.as_ref().map(|buffer| from(offset, buffer)));
        self.submit(&prepared.bind(&buffers)?);
        let Gradients { input, weight, bias, extra } = &mut gradients;
        let all = [(of_input, input), (of_weight, weight), (of_bias, bias)];
        for (buffer, data) in all.into_iter().chain(of_extra.zip(extra.as_mut()).into_array()) {
            if let (Some(buffer), Some(data)) = (buffer, data) {
                self.fetch(&buffer, offset, data.bytes_mut());
            }
        }
        let complaints = self.complaints();
        assert!(complaints.is_empty(), "{}: wgpu complained: {complaints:?}", self.name);
        Ok(gradients)
    }

    pub(crate) fn submit(&self, bound: &Bound) {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        bound.record_pass(&mut encoder);
        self.queue.submit([encoder.finish()]);
    }

    /// Reads a guarded buffer and checks that nothing was written beside its content.
    pub(crate) fn fetch(&self, buffer: &Buffer, offset: u64, into: &mut [u8]) {
        let bytes = self.read(buffer);
        let offset = usize::try_from(offset).expect("small");
        let end = offset + into.len();
        into.copy_from_slice(&bytes[offset..end]);
        let clean = bytes[..offset].iter().chain(&bytes[end..]).all(|&b| b == SENTINEL);
        assert!(clean, "{}: a guard byte was written", self.name);
    }
}

/// A buffer from an offset on, if there is one.
pub(crate) fn from(offset: u64, buffer: &Option<Buffer>) -> Option<wgpu::BufferSlice<'_>> {
    buffer.as_ref().map(|buffer| buffer.slice(offset..))
}
