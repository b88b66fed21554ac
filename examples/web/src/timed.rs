//! A normalization that is run again and again, for JavaScript's clock.

use crate::{Outcome, in_words};
use futures_channel::oneshot;
use wasm_bindgen::prelude::wasm_bindgen;
use wgpu::BufferUsages;
use wgpu_norm::gpu::{Bound, Buffers, Gpu, Options};
use wgpu_norm::plan::{Arguments, Plan};
use wgpu_norm::{Data, Engine};

/// A device with its kernels.
pub(crate) struct Device {
    pub(crate) gpu: Gpu,
    pub(crate) queue: wgpu::Queue,
}

/// A normalization, ready to run.
#[wasm_bindgen]
pub struct Timed(Place);

enum Place {
    Device { gpu: Gpu, queue: wgpu::Queue, bound: Bound },
    Host { engine: Engine, plan: Box<Plan>, input: Data, output: Data },
}

#[wasm_bindgen]
impl Timed {
    /// Runs it some times, and waits until all are done.
    pub async fn run(&mut self, times: u32) -> Outcome<()> {
        match &mut self.0 {
            Place::Device { gpu, queue, bound } => on_device(gpu, queue, bound, times).await,
            Place::Host { engine, plan, input, output } => {
                for _ in 0..times {
                    let done = engine.execute(plan, Some(input), &mut Arguments::default(), output).await;
                    done.map_err(in_words)?;
                }
                Ok(())
            }
        }
    }
}

async fn on_device(gpu: &Gpu, queue: &wgpu::Queue, bound: &Bound, times: u32) -> Outcome<()> {
    let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    for _ in 0..times {
        bound.record_pass(&mut encoder);
    }
    queue.submit([encoder.finish()]);
    let (done, all_done) = oneshot::channel();
    queue.on_submitted_work_done(move || {
        // Where nobody waits any more, nobody has to know.
        let _ = done.send(());
    });
    gpu.settled().await.map_err(in_words)?;
    all_done.await.map_err(|_| "the device went away before the work was done".to_owned())
}

impl Timed {
    pub(crate) fn on_device(Device { gpu, queue }: &Device, plan: &Plan, input: &Data) -> Outcome<Self> {
        let size = (input.bytes().len() as u64).next_multiple_of(4).max(4);
        let buffer = |label, usage| {
            let usage = usage | BufferUsages::STORAGE;
            let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
            gpu.device().create_buffer(&descriptor)
        };
        let (from, to) = (buffer("input", BufferUsages::COPY_DST), buffer("output", BufferUsages::empty()));
        let mut bytes = input.bytes().to_vec();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        queue.write_buffer(&from, 0, &bytes);
        let prepared = gpu.prepare(plan, &Options::default()).map_err(in_words)?;
        let bound = prepared.bind(&Buffers::new(from.slice(..), to.slice(..))).map_err(in_words)?;
        Ok(Self(Place::Device { gpu: gpu.clone(), queue: queue.clone(), bound }))
    }

    pub(crate) fn on_host(engine: Engine, plan: Plan, input: Data) -> Self {
        let output = Data::zeros(input.dtype(), input.len());
        Self(Place::Host { engine, plan: Box::new(plan), input, output })
    }
}
