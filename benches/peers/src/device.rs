//! Ours on an adapter, with everything already there.

use crate::clock::time;
use crate::sets::Set;
use crate::workloads::Problem;
use wgpu_norm::gpu::{Bound, Gpu, Options, optional_features, recommended_limits};
use wgpu_norm::{Data, Error, Result, Wanted, wgpu};

/// Few enough that the first are done while more are recorded, and enough that a submit does not count.
const CALLS_A_SUBMIT: usize = 16;

pub(crate) struct Device {
    device: wgpu::Device,
    queue: wgpu::Queue,
    gpu: Gpu,
}

impl Device {
    pub(crate) fn open(adapter: &wgpu::Adapter) -> Result<Self> {
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("wgpu-norm peers"),
            required_features: optional_features(adapter),
            required_limits: recommended_limits(adapter, wgpu::Limits::default()),
            ..Default::default()
        };
        let opened = pollster::block_on(adapter.request_device(&descriptor));
        let (device, queue) = opened.map_err(|error| Error::Device(error.to_string()))?;
        Ok(Self { gpu: Gpu::new(&device), device, queue })
    }

    /// Seconds that a pass takes, by the wall clock over batches that are waited for, and what it gives.
    pub(crate) fn measure(&self, problem: &Problem, backward: bool) -> Result<(f64, Vec<Data>)> {
        let sets = Set::round(&self.device, problem, backward.then(|| Wanted::all(&problem.plan)));
        let bound = if backward { self.backward(problem, &sets)? } else { self.forward(problem, &sets)? };
        let time = time(|calls| self.run_all(calls as usize, &bound))?;
        let results = sets[0].results(problem).into_iter().map(|(buffer, data)| self.read(buffer, data));
        Ok((time.median, results.collect::<Result<_>>()?))
    }

    fn forward(&self, problem: &Problem, sets: &[Set]) -> Result<Vec<Bound>> {
        let prepared = self.gpu.prepare(&problem.plan, &Options::default())?;
        sets.iter().map(|set| prepared.bind(&set.forward(problem, false))).collect()
    }

    /// After the forward passes whose statistics backward needs.
    fn backward(&self, problem: &Problem, sets: &[Set]) -> Result<Vec<Bound>> {
        let kept = self.gpu.prepare(&problem.plan, &Options::default().save_statistics(true))?;
        for set in sets {
            let bound = kept.bind(&set.forward(problem, true))?;
            self.run(|pass| bound.record(pass))?;
        }
        let prepared = self.gpu.prepare_backward(&problem.plan, Wanted::all(&problem.plan), &Options::default())?;
        sets.iter().map(|set| prepared.bind(&set.backward())).collect()
    }

    /// Makes so many calls and waits until they are done. They are submitted some at a time, so that the device is at work
    /// while more are recorded, as it is for libraries that submit each.
    fn run_all(&self, calls: usize, bound: &[Bound]) -> Result<()> {
        for first in (0..calls).step_by(CALLS_A_SUBMIT) {
            let some = first..calls.min(first + CALLS_A_SUBMIT);
            self.submit(|pass| some.for_each(|call| bound[call % bound.len()].record(pass)));
        }
        self.wait()
    }

    /// Submits what is recorded and waits until it is done.
    fn run(&self, record: impl FnOnce(&mut wgpu::ComputePass<'_>)) -> Result<()> {
        self.submit(record);
        self.wait()
    }

    fn submit(&self, record: impl FnOnce(&mut wgpu::ComputePass<'_>)) {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        record(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
        self.queue.submit([encoder.finish()]);
    }

    fn wait(&self) -> Result<()> {
        let waited = self.device.poll(wgpu::PollType::wait_indefinitely());
        waited.map(drop).map_err(|error| Error::Device(error.to_string()))
    }

    /// A buffer's content, in place of data that is stored as it is.
    fn read(&self, buffer: &wgpu::Buffer, mut data: Data) -> Result<Data> {
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
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
        let view = staging.slice(..).get_mapped_range().map_err(|error| Error::Device(error.to_string()))?;
        let len = data.bytes().len();
        data.bytes_mut().copy_from_slice(&view[..len]);
        Ok(data)
    }
}
