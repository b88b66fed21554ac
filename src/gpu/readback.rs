//! Host tensors in, host tensors out: uploads, records, submits, reads back.

use super::bind::Buffers;
use super::device::scoped;
use super::pipelines::Gpu;
use super::prepare::Prepared;
use crate::error::{Error, Result};
use crate::plan::Arguments;
use crate::tensor::Data;
use wgpu::BufferUsages;

/// Executes a prepared plan on host tensors; `input` is `None` to run in place of `output`.
pub(crate) async fn execute(
    prepared: &Prepared,
    queue: &wgpu::Queue,
    input: Option<&Data>,
    arguments: &mut Arguments<'_>,
    output: &mut Data,
) -> Result<()> {
    if prepared.plan().view().elements() == 0 {
        return Ok(());
    }
    let gpu = &prepared.gpu;
    let device = gpu.device();
    let tensor = upload(gpu, "input", input.unwrap_or(output).bytes(), BufferUsages::COPY_SRC)?;
    let other = match input {
        Some(_) => Some(allocate(gpu, "output", output.bytes().len() as u64, BufferUsages::COPY_SRC)?),
        None => None,
    };
    let result = other.as_ref().unwrap_or(&tensor);
    let weight = arguments.weight.map(|w| upload(gpu, "weight", w.bytes(), BufferUsages::empty())).transpose()?;
    let bias = arguments.bias.map(|b| upload(gpu, "bias", b.bytes(), BufferUsages::empty())).transpose()?;
    let running = match (&arguments.running, prepared.plan().running_len()) {
        (Some(running), Some(_)) => Some(Running::upload(gpu, running)?),
        _ => None,
    };

    let mut buffers = Buffers::new(tensor.slice(..), result.slice(..));
    if let Some(weight) = &weight {
        buffers = buffers.weight(weight.slice(..));
    }
    if let Some(bias) = &bias {
        buffers = buffers.bias(bias.slice(..));
    }
    if let Some(running) = &running {
        buffers = buffers.running(running.mean.slice(..), running.var.slice(..));
        if prepared.plan().running_update().is_some_and(|u| u.counter) {
            buffers = buffers.num_batches_tracked(running.counter.slice(..));
        }
    }
    let bound = prepared.bind(&buffers)?;

    let mut reads = vec![Read::new(gpu, result, output.bytes().len())?];
    if let (Some(running), Some(_)) = (&running, prepared.plan().running_update()) {
        let floats = running.len * 4;
        reads.push(Read::new(gpu, &running.mean, floats)?);
        reads.push(Read::new(gpu, &running.var, floats)?);
        reads.push(Read::new(gpu, &running.counter, 8)?);
    }
    scoped(device, || {
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("wgpu-norm") });
        bound.record_pass(&mut encoder);
        for read in &reads {
            encoder.copy_buffer_to_buffer(&read.source, 0, &read.staging, 0, read.staging.size());
        }
        queue.submit([encoder.finish()]);
    })
    .map_err(Error::Device)?;

    let mut mapped = map(device, &reads).await?.into_iter();
    let mut next = |into: &mut [u8]| {
        if let Some(bytes) = mapped.next() {
            into.copy_from_slice(&bytes[..into.len()]);
        }
    };
    next(output.bytes_mut());
    if let (Some(running), Some(update)) = (&mut arguments.running, prepared.plan().running_update()) {
        next(bytemuck::cast_slice_mut(&mut running.mean));
        next(bytemuck::cast_slice_mut(&mut running.var));
        let mut counter = 0u64;
        next(bytemuck::bytes_of_mut(&mut counter));
        if update.counter {
            running.num_batches_tracked = Some(counter);
        }
    }
    Ok(())
}

struct Running {
    mean: wgpu::Buffer,
    var: wgpu::Buffer,
    counter: wgpu::Buffer,
    len: usize,
}

impl Running {
    fn upload(gpu: &Gpu, running: &crate::plan::RunningStatistics) -> Result<Self> {
        let counter = running.num_batches_tracked.unwrap_or(0);
        Ok(Self {
            mean: upload(gpu, "running_mean", bytemuck::cast_slice(&running.mean), BufferUsages::COPY_SRC)?,
            var: upload(gpu, "running_var", bytemuck::cast_slice(&running.var), BufferUsages::COPY_SRC)?,
            counter: upload(gpu, "num_batches_tracked", bytemuck::bytes_of(&counter), BufferUsages::COPY_SRC)?,
            len: running.mean.len(),
        })
    }
}

/// A copy that the host can read.
struct Read {
    source: wgpu::Buffer,
    staging: wgpu::Buffer,
}

impl Read {
    fn new(gpu: &Gpu, source: &wgpu::Buffer, bytes: usize) -> Result<Self> {
        let size = (bytes as u64).next_multiple_of(4);
        let staging = create(gpu, "readback", size, BufferUsages::MAP_READ | BufferUsages::COPY_DST, false)?;
        Ok(Self { source: source.clone(), staging })
    }
}

fn allocate(gpu: &Gpu, argument: &'static str, bytes: u64, usage: BufferUsages) -> Result<wgpu::Buffer> {
    create(gpu, argument, bytes.next_multiple_of(4), usage | BufferUsages::STORAGE, false)
}

fn upload(gpu: &Gpu, argument: &'static str, bytes: &[u8], usage: BufferUsages) -> Result<wgpu::Buffer> {
    let size = (bytes.len() as u64).next_multiple_of(4).max(4);
    let buffer = create(gpu, argument, size, usage | BufferUsages::STORAGE, true)?;
    match buffer.slice(..).get_mapped_range_mut() {
        Ok(mut view) => view.slice(..bytes.len()).copy_from_slice(bytes),
        Err(error) => return Err(Error::Device(error.to_string())),
    }
    buffer.unmap();
    Ok(buffer)
}

fn create(gpu: &Gpu, argument: &'static str, size: u64, usage: BufferUsages, mapped: bool) -> Result<wgpu::Buffer> {
    let limit = gpu.device().limits().max_buffer_size;
    if size > limit {
        return Err(Error::TooLarge { argument, needed: size, limit, limit_name: "largest buffer of the device" });
    }
    let descriptor = wgpu::BufferDescriptor { label: Some(argument), size, usage, mapped_at_creation: mapped };
    scoped(gpu.device(), || gpu.device().create_buffer(&descriptor)).map_err(Error::Device)
}

async fn map(device: &wgpu::Device, reads: &[Read]) -> Result<Vec<Vec<u8>>> {
    let waits: Vec<_> = reads
        .iter()
        .map(|read| {
            let (sender, receiver) = futures_intrusive::channel::shared::oneshot_channel();
            read.staging.slice(..).map_async(wgpu::MapMode::Read, move |result| {
                // Whoever waited may have gone; then nobody wants the answer.
                let _ = sender.send(result);
            });
            receiver
        })
        .collect();
    poll(device);
    let mut mapped = Vec::with_capacity(reads.len());
    for (read, wait) in reads.iter().zip(waits) {
        match wait.receive().await {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(Error::Device(error.to_string())),
            None => return Err(Error::Device("the device went away before the result was there".into())),
        }
        let view = read.staging.slice(..).get_mapped_range().map_err(|error| Error::Device(error.to_string()))?;
        mapped.push(view.to_vec());
    }
    Ok(mapped)
}

/// Drives the device from a thread of its own, so that waiting for the result blocks no executor. A
/// browser drives its devices itself.
fn poll(device: &wgpu::Device) {
    if cfg!(target_arch = "wasm32") {
        return;
    }
    let own = device.clone();
    let poll = move || own.poll(wgpu::PollType::wait_indefinitely());
    if std::thread::Builder::new().name("wgpu-norm poll".into()).spawn(poll).is_err() {
        // No thread to be had: waiting here is slower for others, but right. A failed poll shows in `map_async`.
        let _ = device.poll(wgpu::PollType::wait_indefinitely());
    }
}
