//! Two devices at once. On each four threads share one prepared plan; each records its part of a batch into an encoder
//! of its own, and all parts of a device go to its queue in one submission.
//!
//! ```sh
//! cargo run --release --example threads
//! ```

#[path = "application/device.rs"]
mod device;
#[path = "application/ending.rs"]
mod ending;
#[path = "application/readback.rs"]
mod readback;

use device::own_device;
use ending::ending;
use readback::{read, record_copy};
use std::thread;
use wgpu::util::DeviceExt;
use wgpu_norm::gpu::{Buffers, Gpu, Options, Prepared};
use wgpu_norm::norm::{LayerNorm, Norm, Operands};
use wgpu_norm::{Choice, Dtype, Engine, Parameters, Spec, Tensor};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const THREADS: usize = 4;
/// Rows of a thread's part.
const ROWS: usize = 64;
const FEATURES: usize = 512;
const PART: usize = ROWS * FEATURES;
const TOLERANCE: f32 = 1e-5;

fn main() -> std::process::ExitCode {
    ending(run())
}

fn run() -> Outcome<()> {
    let batch: Vec<f32> = (0..THREADS * PART).map(|i| (i as f32 * 0.37).sin() + 5.0).collect();
    let workers = [Worker::open()?, Worker::open()?];
    let results = thread::scope(|scope| {
        let running = workers.each_ref().map(|worker| scope.spawn(|| worker.normalize(&batch)));
        running.map(|thread| thread.join().expect("no worker panics"))
    });

    let expected = on_the_cpu(&batch)?;
    for (worker, result) in workers.iter().zip(results) {
        let largest = result?.iter().zip(&expected).fold(0f32, |most, (y, want)| most.max((y - want).abs()));
        let name = worker.device.adapter_info().name;
        println!("{THREADS} threads on {name}: within {largest:.1e} of the CPU");
        if largest > TOLERANCE {
            return Err(format!("{name} differs from the CPU by {largest:e}, expected {TOLERANCE:e} at most").into());
        }
    }
    Ok(())
}

/// A device and a plan that is prepared for it.
struct Worker {
    device: wgpu::Device,
    queue: wgpu::Queue,
    prepared: Prepared,
}

impl Worker {
    fn open() -> Outcome<Self> {
        let (device, queue) = pollster::block_on(own_device())?;
        let plan = LayerNorm::new([FEATURES]).lower(&Operands::new(Spec::new([ROWS, FEATURES], Dtype::F32)))?;
        let prepared = Gpu::new(&device).prepare(&plan, &Options::default())?;
        Ok(Self { device, queue, prepared })
    }

    fn normalize(&self, batch: &[f32]) -> Result<Vec<f32>, String> {
        let parts = thread::scope(|scope| {
            let running: Vec<_> = batch.chunks(PART).map(|part| scope.spawn(|| self.record(part))).collect();
            running.into_iter().map(|thread| thread.join().expect("no thread panics")).collect::<Result<Vec<_>, _>>()
        });
        let (commands, copies): (Vec<_>, Vec<_>) = parts.map_err(|error| error.to_string())?.into_iter().unzip();
        self.queue.submit(commands);
        let read = |copy: &wgpu::Buffer| read::<f32>(&self.device, copy).map_err(|error| error.to_string());
        Ok(copies.iter().map(read).collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// A thread's work: buffers, bind groups and an encoder of its own; the plan is everybody's.
    fn record(&self, rows: &[f32]) -> wgpu_norm::Result<(wgpu::CommandBuffer, wgpu::Buffer)> {
        let buffer = self.device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: Some("rows"),
            contents: bytemuck::cast_slice(rows),
            usage: wgpu::BufferUsages::STORAGE,
        });
        let output = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("normalized rows"),
            size: buffer.size(),
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let bound = self.prepared.bind(&Buffers::new(buffer.slice(..), output.slice(..)))?;
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        bound.record_pass(&mut encoder);
        let copy = record_copy(&self.device, &mut encoder, &output);
        // What was recorded keeps its buffers alive.
        Ok((encoder.finish(), copy))
    }
}

fn on_the_cpu(batch: &[f32]) -> wgpu_norm::Result<Vec<f32>> {
    let engine = pollster::block_on(Engine::open(&Choice::Cpu))?;
    let batch = Tensor::from_f32([THREADS * ROWS, FEATURES], batch.to_vec())?;
    Ok(engine.forward(&LayerNorm::new([FEATURES]), &batch, &mut Parameters::default())?.data().to_f32())
}
