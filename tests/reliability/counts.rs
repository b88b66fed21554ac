//! Nothing is left behind, and nothing changes: resources after many cycles, bits after many repetitions.

use crate::rig::{Call, Rig};
use crate::sample::noise;
use crate::subject::Subject;
use wgpu_norm::gpu::{Buffers, Options, Strategy};
use wgpu_norm::norm::{BatchNorm, GroupNorm, LayerNorm, Norm, Operands};
use wgpu_norm::plan::Plan;
use wgpu_norm::{Data, Dtype, Spec};

/// What was counted on an adapter.
pub(crate) struct Counts {
    pub(crate) cycles: usize,
    /// What the instance held before and after, which is the same.
    pub(crate) resources: Vec<(&'static str, usize)>,
    /// Growth of the process's memory, where the system says.
    pub(crate) kibibytes: Option<i64>,
    pub(crate) plans: usize,
    pub(crate) repetitions: usize,
}

impl Counts {
    pub(crate) fn of(subject: &Subject, cycles: usize, repetitions: usize) -> Self {
        let (resources, kibibytes) = cycle(subject, cycles);
        let plans = repeat(&subject.rig(), repetitions);
        Self { cycles, resources, kibibytes, plans, repetitions }
    }
}

fn plan(norm: &dyn Norm, shape: &[usize], dtype: Dtype) -> Plan {
    norm.lower(&Operands::new(Spec::new(shape, dtype))).expect("the shape fits")
}

/// Prepares, binds and drops; every hundredth time something is recorded and computed.
fn cycle(subject: &Subject, cycles: usize) -> (Vec<(&'static str, usize)>, Option<i64>) {
    let app = subject.app();
    let plan = plan(&LayerNorm::new([5000]), &[4, 5000], Dtype::F32);
    let (input, output) = (app.buffer(80_000), app.buffer(80_000));
    let once = |i: usize| {
        let prepared = app.gpu.prepare(&plan, &Options::default().strategy(Strategy::Split)).expect("prepares");
        assert!(prepared.scratch_size() > 0, "a cycle has scratch to lose");
        let bound = prepared.bind(&Buffers::new(input.slice(..), output.slice(..))).expect("binds");
        if i.is_multiple_of(100) {
            let mut encoder = app.encoder();
            bound.record_pass(&mut encoder);
            app.queue.submit([encoder.finish()]);
            app.device.poll(wgpu::PollType::wait_indefinitely()).expect("polled");
        }
    };
    (0..200).for_each(once);
    let (before, memory) = (subject.resources(), resident_kibibytes());
    (0..cycles).for_each(once);
    app.device.poll(wgpu::PollType::wait_indefinitely()).expect("polled");
    let growth = memory.zip(resident_kibibytes()).map(|(before, after)| after - before);
    assert_eq!(subject.resources(), before, "{}: resources after {cycles} cycles", subject.name);
    assert!(growth.is_none_or(|kibibytes| kibibytes < 32 << 10), "{}: memory grew: {growth:?} KiB", subject.name);
    app.assert_undisturbed();
    (before, growth)
}

/// Computes each plan again and again and compares the bits; the rig checks every guard word each time.
fn repeat(rig: &Rig, repetitions: usize) -> usize {
    let plans = [
        plan(&LayerNorm::new([384]), &[16, 384], Dtype::F32),
        plan(&LayerNorm::new([20_011]), &[2, 20_011], Dtype::F32),
        plan(&BatchNorm::new(), &[33, 24], Dtype::F32),
        plan(&GroupNorm::new(4), &[3, 16, 35], Dtype::F16),
        plan(&LayerNorm::new([70]), &[9, 70], Dtype::Bf16),
    ];
    for plan in &plans {
        let input = Data::from_f64(plan.dtype(), &noise(3, plan.view().elements()));
        let call = Call::new(plan, Options::default(), input);
        let first = rig.run(&call).expect("runs");
        for repetition in 1..repetitions {
            assert!(rig.run(&call).expect("runs") == first, "{}: {:?}, run {repetition}", rig.name, plan.view());
        }
    }
    plans.len()
}

fn resident_kibibytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
