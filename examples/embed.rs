//! An application with a device of its own: two norms chained inside its own command encoder.
//!
//! The application's device serves other work too (here a kernel that scales the activations). The engine
//! records its dispatches between the application's own, into the application's pass. Nothing is read back
//! between the norms, and the engine submits nothing.
//!
//! ```sh
//! cargo run --release --example embed
//! ```

#[path = "application/device.rs"]
mod device;
#[path = "application/ending.rs"]
mod ending;
#[path = "application/kernel.rs"]
mod kernel;
#[path = "application/readback.rs"]
mod readback;

use device::own_device;
use ending::ending;
use kernel::Kernel;
use readback::{read, record_copy};
use wgpu::util::DeviceExt;
use wgpu_norm::gpu::{Buffers, Gpu, Options};
use wgpu_norm::norm::{LayerNorm, Norm, Operands, RmsNorm};
use wgpu_norm::{Dtype, Spec};

const TOKENS: usize = 128;
const FEATURES: usize = 384;
/// The application's own kernel: multiplies every activation by ten.
const SCALE: &str = "
    @group(0) @binding(0) var<storage, read_write> x: array<f32>;
    @compute @workgroup_size(64)
    fn scale(@builtin(global_invocation_id) id: vec3<u32>) {
        if id.x < arrayLength(&x) { x[id.x] *= 10.0; }
    }";

fn main() -> std::process::ExitCode {
    ending(run())
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let (device, queue) = pollster::block_on(own_device())?;
    let size = (TOKENS * FEATURES * 4) as u64;

    // The application's buffers. Activations lie behind a header in a larger buffer: offsets are welcome.
    let header = 256;
    let activations: Vec<f32> = (0..TOKENS * FEATURES).map(|i| ((i * 37 % 1009) as f32).sin() + 3.0).collect();
    let arena = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("arena"),
        size: header + size,
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    queue.write_buffer(&arena, header, bytemuck::cast_slice(&activations));
    let weight = storage(&device, "weight", &vec![1.5; FEATURES]);
    let bias = storage(&device, "bias", &vec![0.25; FEATURES]);
    let hidden = storage(&device, "hidden", &vec![0.0; TOKENS * FEATURES]);

    // Once a shape: strategy and pipelines.
    let gpu = Gpu::new(&device);
    let spec = |shape: &[usize]| Spec::new(shape, Dtype::F32);
    let tokens = Operands::new(spec(&[TOKENS, FEATURES]));
    let first = LayerNorm::new([FEATURES]).lower(&tokens.clone().weight(spec(&[FEATURES])).bias(spec(&[FEATURES])))?;
    let second = RmsNorm::new([FEATURES]).lower(&tokens)?;
    let first = gpu.prepare(&first, &Options::default())?;
    let second = gpu.prepare(&second, &Options::default().in_place(true))?;
    println!("on {}: {} then {}", device.adapter_info().name, first.labels()[0], second.labels()[0]);

    // Once a set of buffers: checks and bind groups.
    let first = first
        .bind(&Buffers::new(arena.slice(header..), hidden.slice(..)).weight(weight.slice(..)).bias(bias.slice(..)))?;
    let second = second.bind(&Buffers::new(hidden.slice(..), hidden.slice(..)))?;

    // Every frame: the application's own work and the norms, in one pass.
    let scale = Kernel::new(&device, "scale", SCALE, &[&hidden], TOKENS * FEATURES);
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("frame") });
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        first.record(&mut pass);
        scale.record(&mut pass);
        second.record(&mut pass);
    }
    let staging = record_copy(&device, &mut encoder, &hidden);
    queue.submit([encoder.finish()]);

    let result: Vec<f32> = read(&device, &staging)?;
    let squares: f32 = result[..FEATURES].iter().map(|y| y * y).sum::<f32>() / FEATURES as f32;
    println!("the first token's mean square after both norms: {squares:.6}");
    if (squares - 1.0).abs() > 1e-5 {
        return Err("an RMS norm leaves a mean square of one".into());
    }
    Ok(())
}

fn storage(device: &wgpu::Device, label: &str, values: &[f32]) -> wgpu::Buffer {
    device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
        label: Some(label),
        contents: bytemuck::cast_slice(values),
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
    })
}
