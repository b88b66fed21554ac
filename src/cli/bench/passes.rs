//! A pass on a device: its first call, its calls with everything already there, with upload and readback, and what
//! recording it costs the host.

use super::clock::{Time, batches_of, time};
use super::device::Device;
use super::host::Results;
use super::sets::{self, Set, whole_words};
use super::timestamps::Timing;
use super::workloads::Problem;
use std::time::Instant;
use wgpu_norm::gpu::{Bound, Gpu, Prepared};
use wgpu_norm::{Data, Error, Result, Wanted, wgpu};

/// Records of a batch that times the host.
const RECORDS: u32 = 1000;

/// What was measured of a pass.
pub(super) struct Measured {
    pub(super) pass: Timing,
    /// A copy of as many bytes.
    pub(super) copy: Timing,
    /// Bytes that a call reads and writes: of the tensor as its strategy does, and of what lies beside it once.
    pub(super) bytes: u64,
    pub(super) strategy: &'static str,
    pub(super) results: Results,
    pub(super) with_transfer: Time,
    /// Seconds from a `Gpu` that has compiled nothing to a result. Measured once, when the workload's turn comes: what
    /// workloads before it had the driver compile, or earlier runs left in the driver's cache on disk, makes it less.
    pub(super) first_call: f64,
    pub(super) record: Record,
}

/// What recording one call costs the host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) whole: Time,
    /// Beyond what wgpu takes for recording as many dispatches of a trivial kernel; no less than nothing.
    pub(super) beyond_wgpu: f64,
}

impl Device {
    pub(super) fn measure(&self, problem: &Problem, backward: bool) -> Result<Measured> {
        let wanted = backward.then(|| Wanted::all(&problem.plan));
        let sets = Set::round(&self.device, problem, wanted);
        if backward {
            self.keep_statistics(problem, &sets)?;
        }
        let begin = Instant::now();
        let prepared = self.prepare(&Gpu::new(&self.device), problem, wanted)?;
        let first = bind(&prepared, problem, &sets[0], wanted)?;
        self.submit(&first)?;
        let first_call = begin.elapsed().as_secs_f64();
        let beside = Readback::new(self, sets[0].beside(problem)).once()?;

        let bound = sets.iter().map(|set| bind(&prepared, problem, set, wanted)).collect::<Result<Vec<Bound>>>()?;
        let pass = self.timed(|pass, call| bound[call % bound.len()].record(pass))?;
        let mut readback = Readback::new(self, sets[0].results(problem));
        let results = Results { tensors: readback.once()?, beside };
        let bytes = prepared.bytes_moved() + super::bytes_beside(problem, backward, size_of::<f32>());
        Ok(Measured {
            pass,
            copy: self.copy_kernel(bytes / 2)?,
            bytes,
            strategy: prepared.strategy().name(),
            results,
            with_transfer: self.with_transfer(problem, &sets[0], &first, &mut readback)?,
            first_call,
            record: self.record_cost(&first, prepared.workgroups().len())?,
        })
    }

    fn prepare(&self, gpu: &Gpu, problem: &Problem, wanted: Option<Wanted>) -> Result<Prepared> {
        match wanted {
            Some(wanted) => gpu.prepare_backward(&problem.plan, wanted, &self.options),
            None => gpu.prepare(&problem.plan, &self.options),
        }
    }

    /// Runs the forward pass whose statistics backward needs.
    fn keep_statistics(&self, problem: &Problem, sets: &[Set]) -> Result<()> {
        let prepared = Gpu::new(&self.device).prepare(&problem.plan, &self.options.save_statistics(true))?;
        sets.iter().try_for_each(|set| self.submit(&prepared.bind(&set.forward(problem, true))?))
    }

    fn submit(&self, bound: &Bound) -> Result<()> {
        let mut encoder = self.encoder();
        bound.record_pass(&mut encoder);
        self.finish(encoder)
    }

    /// The time of a call that begins and ends in the host's memory; every buffer is there beforehand.
    fn with_transfer(&self, problem: &Problem, set: &Set, bound: &Bound, readback: &mut Readback<'_>) -> Result<Time> {
        let input = whole_words(problem.input.bytes());
        let grad_output = set.grad_output.as_ref().map(|buffer| (buffer, whole_words(problem.grad_output.bytes())));
        time(|calls| {
            for _ in 0..calls {
                self.queue.write_buffer(&set.input, 0, &input);
                if let Some((buffer, bytes)) = &grad_output {
                    self.queue.write_buffer(buffer, 0, bytes);
                }
                let mut encoder = self.encoder();
                bound.record_pass(&mut encoder);
                readback.record(&mut encoder);
                self.queue.submit([encoder.finish()]);
                readback.fetch()?;
            }
            Ok(())
        })
    }

    fn record_cost(&self, bound: &Bound, dispatches: usize) -> Result<Record> {
        let sets = [self.copy_set(16), self.copy_set(16)];
        let whole = self.recorded(|pass| bound.record(pass))?;
        let trivial = self.recorded(|pass| {
            for dispatch in 0..dispatches {
                pass.set_pipeline(&self.copy);
                pass.set_bind_group(0, &sets[dispatch % 2], &[]);
                pass.dispatch_workgroups(1, 1, 1);
            }
        })?;
        Ok(Record { whole, beyond_wgpu: (whole.median - trivial.median).max(0.0) })
    }

    /// The host's time of a record that is not submitted, the encoder's and the pass's own spread over many.
    fn recorded(&self, record: impl Fn(&mut wgpu::ComputePass<'_>)) -> Result<Time> {
        let batch = |calls| {
            let begin = Instant::now();
            let mut encoder = self.encoder();
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                (0..calls).for_each(|_| record(&mut pass));
            }
            let finished = encoder.finish();
            let took = begin.elapsed();
            drop(finished);
            Ok((took, ()))
        };
        batch(RECORDS)?;
        batches_of(RECORDS, batch).map(|batches| batches.wall())
    }
}

fn bind(prepared: &Prepared, problem: &Problem, set: &Set, wanted: Option<Wanted>) -> Result<Bound> {
    prepared.bind(&if wanted.is_some() { set.backward() } else { set.forward(problem, false) })
}

/// The way of a pass's results into the host's memory.
struct Readback<'a> {
    on: &'a Device,
    results: Vec<&'a wgpu::Buffer>,
    staging: wgpu::Buffer,
    host: Vec<Data>,
}

impl<'a> Readback<'a> {
    fn new(on: &'a Device, results: Vec<sets::Written<'a>>) -> Self {
        let staging = on.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size: results.iter().map(|(buffer, _)| buffer.size()).sum(),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let (results, host) = results.into_iter().unzip();
        Self { on, results, staging, host }
    }

    /// What there is now.
    fn once(&mut self) -> Result<Vec<Data>> {
        let mut encoder = self.on.encoder();
        self.record(&mut encoder);
        self.on.queue.submit([encoder.finish()]);
        self.fetch()?;
        Ok(self.host.clone())
    }

    fn record(&self, encoder: &mut wgpu::CommandEncoder) {
        let mut begin = 0;
        for buffer in &self.results {
            encoder.copy_buffer_to_buffer(buffer, 0, &self.staging, begin, buffer.size());
            begin += buffer.size();
        }
    }

    /// Waits for what was submitted, and takes it.
    fn fetch(&mut self) -> Result<()> {
        // Whether it worked shows when the range is asked for.
        self.staging.slice(..).map_async(wgpu::MapMode::Read, |_| ());
        self.on.wait()?;
        let view = self.staging.slice(..).get_mapped_range().map_err(|error| Error::Device(error.to_string()))?;
        let mut rest = &view[..];
        for (buffer, data) in self.results.iter().zip(&mut self.host) {
            let (len, size) = (data.bytes().len(), usize::try_from(buffer.size()).unwrap_or(usize::MAX));
            data.bytes_mut().copy_from_slice(&rest[..len]);
            rest = &rest[size..];
        }
        drop(view);
        self.staging.unmap();
        Ok(())
    }
}
