//! Forward and backward passes of the workloads of `wgpu-norm bench`, with data already there, on everything that this
//! machine has; and what one recording costs the host.
//!
//! ```sh
//! cargo bench --bench passes -- forward/cpu
//! ```

#[path = "../src/cli/bench/clock.rs"]
#[allow(dead_code, unused_imports, reason = "criterion has a clock of its own, and no tests of another")]
mod clock;
#[path = "../src/cli/bench/host.rs"]
#[allow(dead_code, reason = "the program checks results as well")]
mod host;
#[path = "../src/cli/bench/sets.rs"]
#[allow(dead_code, reason = "the program reads results back")]
mod sets;
#[path = "../src/cli/bench/workloads.rs"]
mod workloads;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sets::Set;
use std::cell::OnceCell;
use std::time::{Duration, Instant};
use wgpu_norm::gpu::{Bound, Gpu, Options, optional_features, recommended_limits};
use wgpu_norm::{Choice, Dtype, Engine, Result, Wanted, wgpu};
use workloads::{Problem, WORKLOADS, Workload};

/// Records in one encoder.
const RECORDS: u64 = 1000;

/// A device's workload, bound to several sets of buffers.
struct Ready {
    device: wgpu::Device,
    queue: wgpu::Queue,
    bound: Vec<Bound>,
}

impl Ready {
    fn new(adapter: &wgpu::Adapter, workload: &Workload, backward: bool) -> Result<Self> {
        let descriptor = wgpu::DeviceDescriptor {
            required_features: optional_features(adapter),
            required_limits: recommended_limits(adapter, wgpu::Limits::default()),
            ..Default::default()
        };
        let opened = pollster::block_on(adapter.request_device(&descriptor));
        let (device, queue) = opened.map_err(|error| wgpu_norm::Error::Device(error.to_string()))?;
        let problem = workload.problem(Dtype::F32)?;
        let bound = bound(&device, &queue, &problem, backward)?;
        Ok(Self { device, queue, bound })
    }

    /// So many calls in one pass, and how long it took to record them, and to have them done.
    fn calls(&self, calls: u64) -> [Duration; 2] {
        let begin = Instant::now();
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            (0..calls).zip(self.bound.iter().cycle()).for_each(|(_, bound)| bound.record(&mut pass));
        }
        let commands = encoder.finish();
        let recorded = begin.elapsed();
        self.queue.submit([commands]);
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device is there");
        [recorded, begin.elapsed()]
    }
}

fn bound(device: &wgpu::Device, queue: &wgpu::Queue, problem: &Problem, backward: bool) -> Result<Vec<Bound>> {
    let (gpu, options, wanted) = (Gpu::new(device), Options::default(), Wanted::all(&problem.plan));
    let sets = Set::round(device, problem, backward.then_some(wanted));
    if !backward {
        let prepared = gpu.prepare(&problem.plan, &options)?;
        return sets.iter().map(|set| prepared.bind(&set.forward(problem, false))).collect();
    }
    let kept = gpu.prepare(&problem.plan, &options.save_statistics(true))?;
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    for set in &sets {
        kept.bind(&set.forward(problem, true))?.record_pass(&mut encoder);
    }
    queue.submit([encoder.finish()]);
    let prepared = gpu.prepare_backward(&problem.plan, wanted, &options)?;
    sets.iter().map(|set| prepared.bind(&set.backward())).collect()
}

fn on_devices(criterion: &mut Criterion) {
    for choice in pollster::block_on(Choice::all()) {
        let Choice::Adapter { adapter, .. } = &choice else { continue };
        for (pass, backward) in [("forward", false), ("backward", true)] {
            let mut group = criterion.benchmark_group(format!("{pass}/{}", choice.name()));
            group.sample_size(10);
            for workload in &WORKLOADS {
                // Made when first called: a filter may leave it out.
                let ready = OnceCell::new();
                let ready = || ready.get_or_init(|| Ready::new(adapter, workload, backward).expect("prepares"));
                group.bench_function(BenchmarkId::from_parameter(workload.name), |bencher| {
                    bencher.iter_custom(|calls| ready().calls(calls)[1]);
                });
                group.bench_function(BenchmarkId::new("record", workload.name), |bencher| {
                    bencher.iter_custom(|calls| {
                        let batches = (0..calls).step_by(1000).map(|begin| RECORDS.min(calls - begin));
                        batches.map(|calls| ready().calls(calls)[0]).sum()
                    });
                });
            }
            group.finish();
        }
    }
}

fn on_the_cpu(criterion: &mut Criterion) {
    let engine = pollster::block_on(Engine::open(&Choice::Cpu)).expect("the CPU is there");
    for (pass, backward) in [("forward", false), ("backward", true)] {
        let mut group = criterion.benchmark_group(format!("{pass}/cpu"));
        group.sample_size(10);
        for workload in &WORKLOADS {
            let problem = OnceCell::new();
            group.bench_function(BenchmarkId::from_parameter(workload.name), |bencher| {
                let problem = problem.get_or_init(|| workload.problem(Dtype::F32).expect("lowers"));
                let mut calls = host::Calls::new(&engine, problem, backward).expect("runs");
                bencher.iter(|| calls.call());
            });
        }
        group.finish();
    }
}

criterion_group!(benches, on_the_cpu, on_devices);
criterion_main!(benches);
