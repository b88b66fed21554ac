//! Random shapes, types, layouts, offsets and options: the CPU and every strategy against the f64 reference.

use crate::drawn::{axis, case, epilogue, options};
use crate::family;
use crate::gradient_sample::GradientSample;
use crate::rig::{Rig, rigs};
use crate::sample::Sample;
use proptest::prelude::*;
use std::sync::LazyLock;
use wgpu_norm::gpu::{Options, Strategy as Way};
use wgpu_norm::norm::Fused;
use wgpu_norm::plan::Activation;
use wgpu_norm::{Choice, Dtype, Engine, Layout, Wanted};

/// Units of the roundoff of f32 that an element may be off; see `Sample::expected`.
const UNITS: f64 = 16.0;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_executor_agrees_with_the_reference(case in case(20_000)) {
        let sample = case.sample();
        forward_agrees(&sample, case.options, case.offset)?;
        if case.has_gradients() {
            backward_agrees(&GradientSample::new(&sample), case.options, case.offset)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn every_executor_agrees_on_the_whole_family(
        ncs in [axis(), axis(), axis()].prop_map(|ncs| ncs.map(|axis| axis.max(1))),
        layout in prop::sample::select(vec![Layout::ChannelsFirst, Layout::ChannelsLast]),
        dtype in prop::sample::select(Dtype::ALL.to_vec()),
        member in any::<prop::sample::Index>(),
        residual in any::<bool>(),
        epilogue in epilogue(),
        (shift, deviation) in prop::sample::select(vec![(0.0, 1.0), (100.0, 1.0), (-3.0, 20.0)]),
        (options, offset) in options(),
    ) {
        prop_assume!(ncs[0] * ncs[2] > 1 && ncs.iter().product::<usize>() < 40_000);
        let mut members = family::members(ncs, layout, dtype);
        let (norm, mut operands) = members.swap_remove(member.index(members.len()));
        operands.residual = residual.then(|| operands.input.clone());
        let sample = Sample::with_deviation(&Fused { norm, epilogue }, &operands, shift, deviation);
        forward_agrees(&sample, options, offset)?;
        // At a jump of the slope the least error of its argument changes it altogether.
        if epilogue.activation != Some(Activation::Relu) && !sample.is_near_a_threshold() {
            backward_agrees(&GradientSample::new(&sample), options, offset)?;
        }
    }
}

fn forward_agrees(sample: &Sample, options: Options, offset: u64) -> Result<(), TestCaseError> {
    let expected = sample.expected(UNITS);
    let outcome = sample.run_on(&CPU, options.in_place);
    let verdict = expected
        .worst(&outcome.output)
        .and_then(|_| expected.worst_running(outcome.running.as_ref()))
        .and_then(|_| expected.check_sum(outcome.sum.as_ref()));
    prop_assert!(verdict.is_ok(), "cpu: {:?} {verdict:?}", sample.plan);
    for rig in RIGS.iter() {
        for way in Way::ALL {
            if way.supports(&sample.plan, &rig.capabilities(&options)).is_err() {
                continue;
            }
            let call = sample.call(options.strategy(way), offset);
            let outcome = rig.run(&call).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let verdict = expected
                .worst(&outcome.output)
                .and_then(|_| expected.worst_running(outcome.running.as_ref()))
                .and_then(|_| expected.check_sum(outcome.sum.as_ref()));
            prop_assert!(verdict.is_ok(), "{} {way}: {:?} {verdict:?}", rig.name, sample.plan);
        }
    }
    Ok(())
}

fn backward_agrees(sample: &GradientSample, options: Options, offset: u64) -> Result<(), TestCaseError> {
    let (expected, wanted) = (sample.expected(UNITS), Wanted::all(&sample.plan));
    let gradients = pollster::block_on(CPU.execute_backward(&sample.plan, &sample.arguments(), wanted)).expect("runs");
    let verdict = expected.worst(wanted, &gradients);
    prop_assert!(verdict.is_ok(), "cpu: {:?} {verdict:?}", sample.plan);
    for rig in RIGS.iter() {
        for way in Way::ALL {
            if way.supports_backward(&sample.plan, wanted, &rig.capabilities(&options)).is_err() {
                continue;
            }
            let call = sample.call(options.strategy(way), wanted, offset);
            let gradients = rig.run_backward(&call).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let verdict = expected.worst(wanted, &gradients);
            prop_assert!(verdict.is_ok(), "{} {way}: {:?} {verdict:?}", rig.name, sample.plan);
        }
    }
    Ok(())
}

static CPU: LazyLock<Engine> =
    LazyLock::new(|| pollster::block_on(Engine::open(&Choice::Cpu)).expect("the CPU is there"));

/// Devices are dear to make, so the cases of a run share them.
static RIGS: LazyLock<Vec<Rig>> = LazyLock::new(rigs);
