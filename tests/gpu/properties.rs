//! Random shapes, types, layouts, offsets and options: the CPU and every strategy against the f64 reference.

use crate::family;
use crate::gradient_sample::GradientSample;
use crate::rig::{Rig, rigs};
use crate::sample::Sample;
use proptest::prelude::*;
use std::sync::LazyLock;
use wgpu_norm::gpu::{Options, Strategy as Way};
use wgpu_norm::norm::{BatchNorm, Fused, GroupNorm, InstanceNorm, LayerNorm, Norm, Operands, RmsNorm};
use wgpu_norm::plan::{Activation, Epilogue, Momentum};
use wgpu_norm::{Choice, Dtype, Engine, Layout, Spec, Wanted};

/// Units of the roundoff of f32 that an element may be off; see `Sample::expected`.
const UNITS: f64 = 16.0;

/// Lengths where kernels go wrong: 0, 1, primes, powers of two and their neighbours.
fn axis() -> impl Strategy<Value = usize> {
    prop_oneof![
        1 => Just(0usize),
        3 => Just(1),
        6 => prop::sample::select(vec![2, 3, 5, 7, 13, 31]),
        6 => prop::sample::select(vec![4, 8, 15, 16, 17, 32, 33, 63, 64, 65]),
    ]
}

/// Shapes of this rank with at most some thousand elements.
fn shape(rank: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(axis(), rank).prop_map(|mut shape| {
        while shape.iter().product::<usize>() > 20_000 {
            let longest = shape.iter().enumerate().max_by_key(|(_, n)| **n).map_or(0, |(i, _)| i);
            shape[longest] /= 2;
        }
        shape
    })
}

/// A norm and the shape of its parameters.
#[derive(Debug)]
struct Drawn {
    norm: Box<dyn DebugNorm>,
    shape: Vec<usize>,
    parameters: Vec<usize>,
    running: bool,
}

trait DebugNorm: Norm + std::fmt::Debug {}
impl<T: Norm + std::fmt::Debug> DebugNorm for T {}

fn row_norm() -> impl Strategy<Value = Drawn> {
    let last = (shape(1..=4), any::<prop::sample::Index>(), any::<bool>()).prop_map(|(shape, from, rms)| {
        let parameters = shape[from.index(shape.len())..].to_vec();
        let norm: Box<dyn DebugNorm> = if rms {
            Box::new(RmsNorm::new(parameters.clone()).eps(1e-5))
        } else {
            Box::new(LayerNorm::new(parameters.clone()))
        };
        Drawn { norm, shape, parameters, running: false }
    });
    let any_axis = (shape(3..=4), 0..3usize).prop_map(|(shape, axis)| {
        let parameters = vec![shape[axis]];
        Drawn { norm: Box::new(LayerNorm::over_axes([axis as isize])), shape, parameters, running: false }
    });
    prop_oneof![2 => last, 1 => any_axis]
}

fn channel_norm() -> impl Strategy<Value = Drawn> {
    let layout = prop::sample::select(vec![Layout::ChannelsFirst, Layout::ChannelsLast]);
    (shape(3..=5), layout, 0..4u8, any::<bool>(), any::<bool>()).prop_map(
        |(mut shape, layout, which, flag, running)| {
            let channel_axis = if layout == Layout::ChannelsFirst { 1 } else { shape.len() - 1 };
            let channels = shape[channel_axis];
            let norm: Box<dyn DebugNorm> = match which {
                0 => {
                    let groups = (1..=channels.max(1)).filter(|g| channels % g == 0);
                    Box::new(GroupNorm::new(groups.take(3).last().unwrap_or(1)).layout(layout))
                }
                1 => Box::new(InstanceNorm::new().use_input_stats(flag || !running).layout(layout)),
                _ => {
                    let momentum = if which == 2 { Momentum::Fixed(0.3) } else { Momentum::Cumulative };
                    Box::new(BatchNorm::new().training(flag).momentum(momentum).layout(layout))
                }
            };
            // Training refuses one value a channel; another sample or position makes it two.
            let spatial = if layout == Layout::ChannelsFirst { 2 } else { 1 };
            if shape[spatial] == 1 {
                shape[spatial] = 2;
            }
            Drawn { norm, shape, parameters: vec![channels], running: running && which > 0 }
        },
    )
}

fn options() -> impl Strategy<Value = (Options, u64)> {
    (any::<bool>(), any::<bool>(), any::<bool>(), prop::sample::select(vec![0u64, 4, 12, 16, 256])).prop_map(
        |(in_place, subgroups, native_f16, offset)| {
            let alignment = if offset % 16 == 0 { 16 } else { 4 };
            let options = Options::default().in_place(in_place).subgroups(subgroups).native_f16(native_f16);
            (options.offset_alignment(alignment), offset)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_executor_agrees_with_the_reference(
        drawn in prop_oneof![row_norm(), channel_norm()],
        dtype in prop::sample::select(Dtype::ALL.to_vec()),
        wide_parameters in any::<bool>(),
        (weight, bias, residual, per_sample) in (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        epilogue in epilogue(),
        (shift, deviation) in prop::sample::select(vec![(0.0, 1.0), (100.0, 1.0), (-3.0, 20.0), (0.0, 0.05)]),
        (options, offset) in options(),
    ) {
        let spec = |shape: &[usize], dtype| Spec::new(shape, dtype);
        let stored = if wide_parameters { Dtype::F32 } else { dtype };
        let norm = Fused { norm: drawn.norm, epilogue };
        let mut operands = Operands::new(spec(&drawn.shape, dtype));
        operands.residual = residual.then(|| spec(&drawn.shape, dtype));
        if drawn.running {
            operands = operands.running(drawn.parameters[0], true);
        }
        let with_parameters = |shape: &[usize]| Operands {
            weight: weight.then(|| spec(shape, stored)),
            bias: bias.then(|| spec(shape, stored)),
            ..operands.clone()
        };
        let rows = with_parameters(&[&drawn.shape[..1], &drawn.parameters].concat());
        // Not every norm has samples to give a row of parameters each.
        let operands = if per_sample && norm.lower(&rows).is_ok() { rows } else { with_parameters(&drawn.parameters) };
        let sample = Sample::with_deviation(&norm, &operands, shift, deviation);
        forward_agrees(&sample, options, offset)?;
        // A slope jumps at 0, so the least error of its argument may change it altogether.
        if epilogue.activation != Some(Activation::Relu) {
            backward_agrees(&GradientSample::new(&sample), options, offset)?;
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

fn epilogue() -> impl Strategy<Value = Epilogue> {
    let activation = prop_oneof![2 => Just(None), 1 => prop::sample::select(Activation::ALL.to_vec()).prop_map(Some)];
    (activation, any::<bool>(), any::<bool>()).prop_map(|(activation, zero_centred_weight, rounds_normalized)| {
        Epilogue { activation, zero_centred_weight, rounds_normalized }
    })
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
    let verdict = expected.worst(&gradients);
    prop_assert!(verdict.is_ok(), "cpu: {:?} {verdict:?}", sample.plan);
    for rig in RIGS.iter() {
        for way in Way::ALL {
            if way.supports_backward(&sample.plan, wanted, &rig.capabilities(&options)).is_err() {
                continue;
            }
            let call = sample.call(options.strategy(way), wanted, offset);
            let gradients = rig.run_backward(&call).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let verdict = expected.worst(&gradients);
            prop_assert!(verdict.is_ok(), "{} {way}: {:?} {verdict:?}", rig.name, sample.plan);
        }
    }
    Ok(())
}

static CPU: LazyLock<Engine> =
    LazyLock::new(|| pollster::block_on(Engine::open(&Choice::Cpu)).expect("the CPU is there"));

/// Devices are dear to make, so the cases of a run share them.
static RIGS: LazyLock<Vec<Rig>> = LazyLock::new(rigs);
