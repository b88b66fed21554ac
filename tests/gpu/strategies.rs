//! Every strategy that supports a plan is forced on it, on every adapter, and compared with the f64 reference.

use crate::rig::{Call, Rig, rigs};
use crate::sample::Sample;
use wgpu_norm::gpu::{Options, Strategy};
use wgpu_norm::norm::{BatchNorm, GroupNorm, InstanceNorm, LayerNorm, Norm, Operands, RmsNorm};
use wgpu_norm::{Dtype, Layout, Spec};

/// Units of the roundoff of f32 that an element may be off; see `Sample::expected`.
const UNITS: f64 = 16.0;

fn samples(offset: f64) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut add = |norm: &dyn Norm, shape: &[usize], parameters: &[usize], running: bool| {
        for dtype in Dtype::ALL {
            let spec = |shape: &[usize]| Spec::new(shape, dtype);
            let mut operands = Operands::new(spec(shape)).weight(spec(parameters)).bias(spec(parameters));
            if running {
                operands = operands.running(parameters[0], true);
            }
            samples.push(Sample::new(norm, &operands, offset));
        }
    };
    for d in [1, 2, 3, 4, 7, 8, 13, 31, 32, 33, 64, 257, 384, 1024, 1025, 4097, 20_000] {
        add(&LayerNorm::new([d]), &[5, d], &[d], false);
    }
    add(&RmsNorm::new([384]), &[9, 384], &[384], false);
    add(&RmsNorm::new([5, 13]), &[9, 5, 13], &[5, 13], false);
    add(&LayerNorm::over_axes([1]), &[2, 37, 5, 8], &[37], false);
    add(&LayerNorm::over_axes([1, 3]), &[2, 6, 3, 20], &[6, 20], false);
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let shape: [usize; 4] = if layout == Layout::ChannelsFirst { [3, 12, 7, 5] } else { [3, 7, 5, 12] };
        add(&GroupNorm::new(4).layout(layout), &shape, &[12], false);
        add(&InstanceNorm::new().layout(layout), &shape, &[12], true);
        add(&BatchNorm::new().layout(layout), &shape, &[12], true);
        add(&BatchNorm::new().training(false).layout(layout), &shape, &[12], true);
    }
    add(&BatchNorm::new(), &[700, 33], &[33], true);
    add(&BatchNorm::new(), &[2, 7, 9001], &[7], true);
    add(&BatchNorm::new(), &[9, 1, 6, 7], &[1], true);
    samples
}

/// Runs a sample in every way that the adapter offers; returns how many ways, and what went wrong.
fn in_every_way(rig: &Rig, sample: &Sample, worst: &mut f64) -> (usize, Vec<String>) {
    let expected = sample.expected(UNITS);
    let (mut ways, mut faults) = (0, Vec::new());
    for strategy in Strategy::ALL {
        if strategy.supports(&sample.plan, rig.gpu.capabilities()).is_err() {
            continue;
        }
        for (in_place, subgroups, native_f16, offset) in
            [(false, true, true, 0), (true, false, false, 256), (false, false, false, 4), (true, true, false, 0)]
        {
            let options = Options::default()
                .strategy(strategy)
                .in_place(in_place)
                .subgroups(subgroups)
                .native_f16(native_f16)
                .offset_alignment(if offset == 4 { 4 } else { 16 });
            if strategy.supports(&sample.plan, &rig.capabilities(&options)).is_err() {
                continue;
            }
            let call = Call {
                plan: &sample.plan,
                options,
                input: sample.input.clone(),
                weight: sample.weight.clone(),
                bias: sample.bias.clone(),
                running: sample.running.clone(),
                offset,
            };
            ways += 1;
            let result = rig.run(&call).map_err(|error| error.to_string()).and_then(|outcome| {
                expected.worst_running(outcome.running.as_ref())?;
                expected.worst(&outcome.output)
            });
            match result {
                // In short types the error is the storage's own, nearly half a unit.
                Ok(share) if sample.plan.dtype() == Dtype::F32 => *worst = worst.max(share),
                Ok(_) => {}
                Err(fault) => faults.push(format!("{}: {} {strategy} {options:?}: {fault}", rig.name, sample.name)),
            }
        }
    }
    (ways, faults)
}

fn assert_all_ways(offset: f64, rigs: Vec<Rig>) {
    let samples = samples(offset);
    for rig in rigs {
        let (mut ways, mut faults, mut worst) = (0, Vec::new(), 0.0);
        for sample in &samples {
            let (more, wrong) = in_every_way(&rig, sample, &mut worst);
            assert!(more > 0, "{}: no strategy serves {}", rig.name, sample.name);
            ways += more;
            faults.extend(wrong);
        }
        println!("{}: {ways} ways, worst f32 error {:.2} units, {UNITS} allowed", rig.name, worst * UNITS);
        assert!(faults.is_empty(), "{} of {ways} ways fail: {:#?}", faults.len(), &faults[..faults.len().min(8)]);
    }
}

#[test]
fn every_strategy_agrees_with_the_reference() {
    assert_all_ways(0.0, rigs());
}

#[test]
fn an_offset_costs_no_digits() {
    assert_all_ways(1e4, rigs());
}

#[test]
fn the_layout_for_wide_workgroups_agrees_too() {
    assert_all_ways(1e4, rigs().iter().map(Rig::as_discrete).collect());
}
