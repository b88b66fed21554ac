//! A device of the benchmark's own, and how batches are timed on it.

use super::clock::batches;
use super::timestamps::{Stopwatch, Timing};
use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use wgpu_norm::gpu::{Options, optional_features, required_features};
use wgpu_norm::{Choice, Error, Result, wgpu};

pub(super) struct Device {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    /// What every plan is prepared with.
    pub(super) options: Options,
    pub(super) copy: wgpu::ComputePipeline,
    stopwatch: Option<Stopwatch>,
    /// When it last had something to do.
    busy: Cell<Option<Instant>>,
    /// What wgpu had to say since it was last asked for. Unheard, it would end the program.
    fault: Arc<Mutex<Option<String>>>,
}

/// An NVIDIA H100 that had nothing to do for a while ran at half its speed for a third of a second.
const WARM_UP: Duration = Duration::from_millis(600);
/// What is submitted at once takes about so long: no watchdog minds, and it has no pauses to speak of.
const WARM_UP_SUBMIT: Duration = Duration::from_millis(10);
/// It had not slowed down after this long.
const STAYS_WARM: Duration = Duration::from_millis(20);

impl Device {
    pub(super) fn open(adapter: &wgpu::Adapter, options: Options, disabled: wgpu::Features) -> Result<Self> {
        let timestamps = adapter.features() & wgpu::Features::TIMESTAMP_QUERY;
        let optional = (optional_features(adapter) | timestamps) - disabled;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("wgpu-norm bench"),
            required_features: required_features() | optional,
            required_limits: adapter.limits(),
            ..Default::default()
        };
        let failed = |error| Error::Device(format!("{} gives none: {error}", Choice::from(adapter.clone()).name()));
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).map_err(failed)?;
        let fault = Arc::new(Mutex::new(None));
        let heard = Arc::clone(&fault);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            heard.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.to_string());
        }));
        let module = device.create_shader_module(wgpu::include_wgsl!("copy.wgsl"));
        let copy = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("copy"),
            layout: None,
            module: &module,
            entry_point: Some("copy"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let busy = Cell::new(None);
        Ok(Self { stopwatch: Stopwatch::new(&device), device, queue, options, copy, busy, fault })
    }

    /// What `work` gives, unless wgpu had to say something against it.
    pub(super) fn heeding<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let done = work();
        match self.fault.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(fault) => Err(Error::Device(fault)),
            None => done,
        }
    }

    /// The time of one call, from batches that are one compute pass each.
    pub(super) fn timed(&self, record: impl Fn(&mut wgpu::ComputePass<'_>, usize)) -> Result<Timing> {
        self.warm_up(&record)?;
        let batches = batches(|calls| {
            let took = self.run(calls as usize, &record)?;
            Ok((took, self.stopwatch.as_ref().map(|stopwatch| stopwatch.read(&self.device, &self.queue))))
        });
        self.busy.set(Some(Instant::now()));
        Ok(Timing::of(&batches?, f64::from(self.queue.get_timestamp_period())))
    }

    /// Has a GPU at work until its clock is that of one: an idle one's is a fraction of it, and rises late.
    fn warm_up(&self, record: &impl Fn(&mut wgpu::ComputePass<'_>, usize)) -> Result<()> {
        let is_warm = self.busy.get().is_some_and(|since| since.elapsed() < STAYS_WARM);
        if is_warm || self.device.adapter_info().device_type == wgpu::DeviceType::Cpu {
            return Ok(());
        }
        let begin = Instant::now();
        let mut calls = 1;
        while begin.elapsed() < WARM_UP {
            if self.run(calls, record)? < WARM_UP_SUBMIT {
                calls *= 2;
            }
        }
        Ok(())
    }

    /// How long so many calls in one compute pass take, from recording them until they are done.
    fn run(&self, calls: usize, record: &impl Fn(&mut wgpu::ComputePass<'_>, usize)) -> Result<Duration> {
        let begin = Instant::now();
        let mut encoder = self.encoder();
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: self.stopwatch.as_ref().map(Stopwatch::writes),
            });
            (0..calls).for_each(|call| record(&mut pass, call));
        }
        self.finish(encoder)?;
        Ok(begin.elapsed())
    }

    pub(super) fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    /// Submits what was recorded and waits until it is done.
    pub(super) fn finish(&self, encoder: wgpu::CommandEncoder) -> Result<()> {
        self.queue.submit([encoder.finish()]);
        self.wait()
    }

    pub(super) fn wait(&self) -> Result<()> {
        let waited = self.device.poll(wgpu::PollType::wait_indefinitely());
        waited.map(drop).map_err(|error| Error::Device(error.to_string()))
    }
}
