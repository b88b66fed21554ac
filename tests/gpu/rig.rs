//! Every adapter of this machine as a device under test: guard words round every buffer, a sentinel in
//! every output, and any validation message a failure.

use std::sync::{Arc, Mutex};
use wgpu::util::DeviceExt;
use wgpu::{Buffer, BufferUsages};
use wgpu_norm::gpu::{Buffers, Capabilities, Gpu, Options};
use wgpu_norm::plan::Plan;
use wgpu_norm::{Choice, Data, Error, RunningStatistics};

/// A byte that no kernel writes by accident: as f32, f16 and bf16 a NaN.
const SENTINEL: u8 = 0xff;
/// Bytes of guard behind each buffer.
const GUARD: usize = 64;

/// A device under test.
pub(crate) struct Rig {
    pub(crate) name: String,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) gpu: Gpu,
    adapter: wgpu::Adapter,
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
    /// Bytes before the tensor in its buffer.
    pub(crate) offset: u64,
}

/// What came out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) output: Data,
    pub(crate) running: Option<RunningStatistics>,
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
    let rigs: Vec<Rig> = pollster::block_on(Choice::all())
        .into_iter()
        .filter_map(|choice| match &choice {
            Choice::Adapter(adapter) => Some(Rig::new(choice.name(), adapter)),
            _ => None,
        })
        .collect();
    assert!(
        !rigs.is_empty(),
        "no Vulkan or GL adapter: install one (Debian: mesa-vulkan-drivers libvulkan1 libegl1 libgles2 libgl1-mesa-dri), \
         or set WGPU_NORM_TEST_GPU=off to leave GPU tests out"
    );
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
        Self { name, gpu: Gpu::new(&device), adapter: adapter.clone(), device, queue, complaints }
    }

    /// The same device with the kernels laid out as for a GPU with wide workgroups.
    pub(crate) fn as_discrete(&self) -> Self {
        let mut rig = self.sibling();
        let capabilities = Capabilities { emulated: false, ..*rig.gpu.capabilities() };
        rig.gpu = rig.gpu.assuming(capabilities);
        rig.name += " with wide workgroups";
        rig
    }

    /// Another device of the same adapter.
    pub(crate) fn sibling(&self) -> Self {
        Self::new(self.name.clone(), &self.adapter)
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
        let mut buffers = Buffers::new(input.slice(offset..to), output.slice(offset..to));
        if let Some(weight) = &weight {
            buffers = buffers.weight(weight.slice(offset..));
        }
        if let Some(bias) = &bias {
            buffers = buffers.bias(bias.slice(offset..));
        }
        if let Some((mean, var, counter)) = &running {
            buffers = buffers.running(mean.slice(..), var.slice(..));
            if call.plan.running_update().is_some_and(|u| u.counter) {
                buffers = buffers.num_batches_tracked(counter.slice(..));
            }
        }
        let bound = prepared.bind(&buffers)?;
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        bound.record_pass(&mut encoder);
        self.queue.submit([encoder.finish()]);

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
        let complaints = self.complaints();
        assert!(complaints.is_empty(), "{}: wgpu complained: {complaints:?}", self.name);
        Ok(Outcome { output: result, running })
    }

    /// Reads a guarded buffer and checks that nothing was written beside its content.
    fn fetch(&self, buffer: &Buffer, offset: u64, into: &mut [u8]) {
        let bytes = self.read(buffer);
        let offset = usize::try_from(offset).expect("small");
        let end = offset + into.len();
        into.copy_from_slice(&bytes[offset..end]);
        let clean = bytes[..offset].iter().chain(&bytes[end..]).all(|&b| b == SENTINEL);
        assert!(clean, "{}: a guard byte was written", self.name);
    }
}
