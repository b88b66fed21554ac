//! Rendering without a window: the application paints a picture with too much contrast, the engine normalizes its
//! channels, and the application maps the result to bytes. Three passes in one encoder, one submission; the pixels
//! are compared with the CPU's and written as a PPM file.
//!
//! ```sh
//! cargo run --release --example headless                  # writes target/headless.ppm
//! cargo run --release --example headless -- picture.ppm
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
use std::path::{Path, PathBuf};
use wgpu_norm::gpu::{Bound, Buffers, Gpu, Options};
use wgpu_norm::norm::{InstanceNorm, Norm, Operands};
use wgpu_norm::{Choice, Dtype, Engine, Parameters, Spec, Tensor};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const WIDTH: usize = 320;
const HEIGHT: usize = 200;
const PIXELS: usize = WIDTH * HEIGHT;
/// Samples, channels, rows, columns: each channel is a plane.
const SHAPE: [usize; 4] = [1, 3, HEIGHT, WIDTH];
/// How much a byte may differ from the CPU's: what rounding does to a value that lies between two levels.
const TOLERANCE: u8 = 1;

/// Before: a light for each channel, a thousand times brighter in its middle than at the edges.
const PAINT: &str = "
    @group(0) @binding(0) var<storage, read_write> planes: array<f32>;
    @compute @workgroup_size(64)
    fn paint(@builtin(global_invocation_id) id: vec3<u32>) {
        if id.x >= arrayLength(&planes) { return; }
        let channel = f32(id.x / 64000);
        let pixel = id.x % 64000;
        let away = vec2(f32(pixel % 320) - 80.0 * (channel + 1.0), f32(pixel / 320) - 50.0 * (channel + 1.0));
        planes[id.x] = 1000.0 / (1.0 + 0.05 * dot(away, away));
    }";

/// After: any value to a level from 0 to 255, by a sigmoid; three planes to one word a pixel.
const TONES: &str = "
    @group(0) @binding(0) var<storage, read> planes: array<f32>;
    @group(0) @binding(1) var<storage, read_write> pixels: array<u32>;
    @compute @workgroup_size(64)
    fn tones(@builtin(global_invocation_id) id: vec3<u32>) {
        if id.x >= arrayLength(&pixels) { return; }
        let value = vec3(planes[id.x], planes[id.x + 64000], planes[id.x + 128000]);
        pixels[id.x] = pack4x8unorm(vec4(1.0 / (1.0 + exp(-value)), 1.0));
    }";

fn main() -> std::process::ExitCode {
    ending(run())
}

fn run() -> Outcome<()> {
    let file = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("target/headless.ppm"), PathBuf::from);
    let (device, queue) = pollster::block_on(own_device())?;
    let frame = Frame::new(&device)?;

    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("frame") });
    frame.record(&mut encoder);
    let staging = record_copy(&device, &mut encoder, &frame.pixels);
    queue.submit([encoder.finish()]);
    let pixels: Vec<[u8; 4]> = read(&device, &staging)?;

    let largest = largest_difference(&pixels, &on_the_cpu()?);
    println!("on {}: pixels are within {largest} of 255 levels of the CPU's", device.adapter_info().name);
    if largest > TOLERANCE {
        return Err(format!("pixels differ from the CPU's by {largest} levels, expected {TOLERANCE} at most").into());
    }
    write_ppm(&file, &pixels)?;
    println!("wrote {}", file.display());
    Ok(())
}

/// Everything that a frame needs, made once.
struct Frame {
    paint: Kernel,
    normalize: Bound,
    tones: Kernel,
    pixels: wgpu::Buffer,
}

impl Frame {
    fn new(device: &wgpu::Device) -> Outcome<Self> {
        let buffer = |label, values: usize, usage| {
            let size = 4 * values as u64;
            device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false })
        };
        let planes = buffer("planes", 3 * PIXELS, wgpu::BufferUsages::STORAGE);
        let pixels = buffer("pixels", PIXELS, wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);

        let plan = InstanceNorm::new().lower(&Operands::new(Spec::new(SHAPE, Dtype::F32)))?;
        let prepared = Gpu::new(device).prepare(&plan, &Options::default().in_place(true))?;
        Ok(Self {
            normalize: prepared.bind(&Buffers::new(planes.slice(..), planes.slice(..)))?,
            paint: Kernel::new(device, "paint", PAINT, &[&planes], 3 * PIXELS),
            tones: Kernel::new(device, "tones", TONES, &[&planes, &pixels], PIXELS),
            pixels,
        })
    }

    /// wgpu puts the barriers between dispatches that read what another one wrote.
    fn record(&self, encoder: &mut wgpu::CommandEncoder) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        self.paint.record(&mut pass);
        self.normalize.record(&mut pass);
        self.tones.record(&mut pass);
    }
}

/// The same picture without a GPU.
fn on_the_cpu() -> Outcome<Vec<[u8; 4]>> {
    let engine = pollster::block_on(Engine::open(&Choice::Cpu))?;
    let planes = Tensor::from_f32(SHAPE, (0..3 * PIXELS).map(painted).collect())?;
    let normalized = engine.forward(&InstanceNorm::new(), &planes, &mut Parameters::default())?.data().to_f32();
    let pixel =
        |i: usize| [level(normalized[i]), level(normalized[i + PIXELS]), level(normalized[i + 2 * PIXELS]), 255];
    Ok((0..PIXELS).map(pixel).collect())
}

/// What the kernel `paint` writes.
fn painted(i: usize) -> f32 {
    let (channel, pixel) = ((i / PIXELS) as f32, i % PIXELS);
    let (x, y) = ((pixel % WIDTH) as f32 - 80.0 * (channel + 1.0), (pixel / WIDTH) as f32 - 50.0 * (channel + 1.0));
    1000.0 / (1.0 + 0.05 * (x * x + y * y))
}

/// What the kernel `tones` writes.
#[expect(clippy::cast_possible_truncation, reason = "a sigmoid lies between 0 and 1")]
fn level(value: f32) -> u8 {
    (255.0 / (1.0 + (-value).exp())).round() as u8
}

fn largest_difference(some: &[[u8; 4]], others: &[[u8; 4]]) -> u8 {
    let differences = some.as_flattened().iter().zip(others.as_flattened()).map(|(one, other)| one.abs_diff(*other));
    differences.max().unwrap_or(0)
}

fn write_ppm(file: &Path, pixels: &[[u8; 4]]) -> Outcome<()> {
    let mut bytes = format!("P6\n{WIDTH} {HEIGHT}\n255\n").into_bytes();
    bytes.extend(pixels.iter().flat_map(|pixel| &pixel[..3]));
    // A build that puts what it makes elsewhere leaves no `target` here.
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(file, bytes));
    written.map_err(|error| format!("{}: {error}", file.display()).into())
}
