//! Every strategy that supports a plan is forced on it, on every adapter, and compared with the f64 reference.

use crate::rig::{Rig, rigs};
use crate::sample::Sample;
use crate::tally::{Tally, in_turn};
use wgpu_norm::gpu::kernels::packs;
use wgpu_norm::gpu::{Options, Strategy};
use wgpu_norm::norm::{BatchNorm, Fused, GroupNorm, InstanceNorm, LayerNorm, Norm, Operands, RmsNorm};
use wgpu_norm::plan::{Activation, Epilogue, Momentum};
use wgpu_norm::{Choice, Dtype, Engine, Layout, Spec};

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
    // So many that software adapters take several together, of which some are left over.
    add(&LayerNorm::new([36]), &[67, 36], &[36], false);
    add(&RmsNorm::new([3, 14]), &[131, 3, 14], &[3, 14], false);
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

/// Runs a sample in those of the adapter's ways that are due; returns how many ways the adapter offers.
fn in_every_way(tally: &mut Tally<'_>, number: usize, sample: &Sample) -> usize {
    let (rig, expected) = (tally.rig, sample.expected(UNITS));
    let mut offered = 0;
    for (kind, strategy) in Strategy::ALL.into_iter().enumerate() {
        if strategy.supports(&sample.plan, rig.gpu.capabilities()).is_err() {
            continue;
        }
        let way = |(in_place, subgroups, native_f16, offset)| {
            let options = Options::default()
                .strategy(strategy)
                .in_place(in_place)
                .subgroups(subgroups)
                .native_f16(native_f16)
                .save_statistics(subgroups)
                .moments(subgroups && in_place)
                .sum_in_place(in_place && sample.residual.is_some())
                .offset_alignment(if offset == 4 { 4 } else { 16 });
            strategy.supports(&sample.plan, &rig.capabilities(&options)).is_ok().then_some((options, offset))
        };
        let all = [(false, true, true, 0), (true, false, false, 256), (false, false, false, 4), (true, true, false, 0)];
        let (ways, offsets): (Vec<Options>, Vec<u64>) = all.into_iter().filter_map(way).unzip();
        offered += ways.len();
        for due in tally.due([number, kind], sample.plan.dtype(), &ways) {
            let options = ways[due];
            let call = sample.call(options, offsets[due]);
            let result = rig.run(&call).map_err(|error| error.to_string()).and_then(|outcome| {
                expected.worst_running(outcome.running.as_ref())?;
                expected.check_sum(outcome.sum.as_ref())?;
                if options.save_statistics {
                    expected.check_statistics(&outcome.statistics)?;
                    expected.check_moments(sample.plan.dtype(), outcome.moments.as_ref())?;
                }
                expected.worst(&outcome.output)
            });
            tally.add(sample.plan.dtype(), result, || format!("{} {strategy} {options:?}", sample.name));
        }
    }
    offered
}

fn assert_cpu(samples: &[Sample]) {
    let cpu = pollster::block_on(Engine::open(&Choice::Cpu)).expect("the CPU is there");
    let mut worst = 0f64;
    for sample in samples {
        let (expected, outcome) = (sample.expected(UNITS), sample.run_on(&cpu, false));
        let verdict = expected
            .worst_running(outcome.running.as_ref())
            .and_then(|_| expected.check_sum(outcome.sum.as_ref()))
            .and_then(|()| expected.check_statistics(&outcome.statistics))
            .and_then(|()| expected.worst(&outcome.output));
        let share = verdict.unwrap_or_else(|fault| panic!("cpu: {}: {fault}", sample.name));
        worst = if sample.plan.dtype() == Dtype::F32 { worst.max(share) } else { worst };
    }
    println!("cpu: worst f32 error {:.2} units, {UNITS} allowed", worst * UNITS);
}

pub(crate) fn assert_all_ways(samples: &[Sample], rigs: Vec<Rig>) {
    assert_cpu(samples);
    for rig in &rigs {
        let mut tally = Tally::new(rig);
        for (number, sample) in samples.iter().enumerate() {
            let offered = in_every_way(&mut tally, number, sample);
            assert!(offered > 0, "{}: no strategy serves {}", rig.name, sample.name);
        }
        tally.finish(UNITS);
    }
}

#[test]
fn every_strategy_agrees_with_the_reference() {
    assert_all_ways(&samples(0.0), rigs());
}

#[test]
fn an_offset_costs_no_digits() {
    assert_all_ways(&samples(1e4), rigs());
}

#[test]
fn the_layout_for_wide_workgroups_agrees_too() {
    // The longest rows, which take long to compile, are those of `held`.
    let samples: Vec<Sample> = samples(1e4).into_iter().filter(|sample| packs(sample.plan.view()) <= 4096).collect();
    assert_all_ways(&samples, rigs().iter().map(Rig::as_discrete).collect());
}

/// With a residual, an activation and the conventions of the weight; scale and shift for each sample.
fn fused_samples(epilogue: Epilogue, dtypes: &[Dtype]) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut add = |norm: &dyn Norm, shape: &[usize], parameters: &[usize], residual: bool| {
        for &dtype in dtypes {
            let spec = |shape: &[usize]| Spec::new(shape, dtype);
            let mut operands = Operands::new(spec(shape)).weight(spec(parameters)).bias(spec(parameters));
            if residual {
                operands = operands.residual(spec(shape));
            }
            samples.push(Sample::new(&Fused { norm, epilogue }, &operands, 0.0));
        }
    };
    for d in [1, 4, 7, 33, 384, 1025, 20_000] {
        add(&LayerNorm::new([d]), &[5, d], &[d], true);
        add(&RmsNorm::new([d]), &[5, d], &[d], d > 100);
    }
    add(&LayerNorm::new([24]), &[3, 70, 24], &[3, 24], false);
    add(&LayerNorm::over_axes([1]), &[3, 37, 5, 8], &[3, 37], true);
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let shape: [usize; 4] = if layout == Layout::ChannelsFirst { [3, 12, 7, 5] } else { [3, 7, 5, 12] };
        add(&GroupNorm::new(4).layout(layout), &shape, &[3, 12], true);
        add(&InstanceNorm::new().layout(layout), &shape, &[3, 12], false);
        add(&BatchNorm::new().layout(layout), &shape, &[3, 12], true);
    }
    samples
}

#[test]
fn residuals_activations_and_conventions_of_the_weight_agree() {
    let epilogue =
        |activation, rounds_normalized| Epilogue { activation, zero_centred_weight: true, rounds_normalized };
    assert_all_ways(&fused_samples(Epilogue::default(), &Dtype::ALL), rigs());
    for (turn, activation) in Activation::ALL.into_iter().enumerate() {
        assert_all_ways(&in_turn(fused_samples(epilogue(Some(activation), false), &[Dtype::F32]), turn), rigs());
    }
    assert_all_ways(&fused_samples(epilogue(None, true), &[Dtype::F16, Dtype::Bf16]), rigs());
}

#[test]
fn a_tensor_in_many_pieces_comes_out_the_same() {
    let small = |sample: &Sample| sample.plan.view().elements() < 40_000 && sample.plan.affine().map.len < 2000;
    let rigs = || rigs().iter().map(|rig| rig.with_bindings_of(8 << 10)).collect();
    let mut plain: Vec<Sample> = samples(0.0).into_iter().filter(small).collect();
    // So many that a later piece is taken four together, and channels that come in several chunks.
    let rows = Operands::new(Spec::new([400, 36], Dtype::F16));
    let rows = rows.weight(Spec::new([36], Dtype::F16)).bias(Spec::new([36], Dtype::F16));
    plain.push(Sample::new(&LayerNorm::new([36]), &rows, 0.0));
    for momentum in [Momentum::Fixed(0.1), Momentum::Cumulative] {
        let channels = Operands::new(Spec::new([3, 600, 3], Dtype::F32)).running(600, true);
        plain.push(Sample::new(&BatchNorm::new().momentum(momentum), &channels, 0.0));
    }
    assert_all_ways(&plain, rigs());
    let fused: Vec<Sample> = fused_samples(Epilogue::default(), &Dtype::ALL).into_iter().filter(small).collect();
    assert_all_ways(&fused, rigs());
}

/// A binding begins where it may and holds whole packs, so a group that is as long as the largest is not seen as a whole.
#[test]
fn a_group_that_just_misses_a_binding_is_summed_in_parts() {
    const BINDING: u64 = 64 << 10;
    for rig in rigs() {
        let alignment = u64::from(rig.gpu.capabilities().storage_alignment);
        let rig = rig.with_bindings_of(BINDING);
        // Of two samples: the first's channels and one more of the second's are what a group spans.
        let channels = usize::try_from((BINDING - alignment) / 16 - 1).expect("small");
        let operands = Operands::new(Spec::new([2, channels, 4], Dtype::F32));
        let sample = Sample::new(&BatchNorm::new(), &operands, 0.0);
        let prepared = rig.gpu.prepare(&sample.plan, &Options::default()).expect("some strategy serves it");
        assert_ne!(prepared.strategy(), Strategy::Resident, "{}", rig.name);
        assert!(prepared.workgroups().len() < 50, "{}: {} dispatches", rig.name, prepared.workgroups().len());
        let refused = rig.gpu.prepare(&sample.plan, &Options::default().strategy(Strategy::Resident));
        assert!(refused.is_err_and(|error| error.to_string().contains("a group spans")), "{}", rig.name);
    }
}

/// Rows of an odd number of 16-bit elements are written as runs of memory: were channels cut, each row would be a dispatch.
#[test]
fn odd_rows_of_halves_are_written_in_few_dispatches() {
    for rig in rigs().iter().map(Rig::as_discrete) {
        let plan = BatchNorm::new().lower(&Operands::new(Spec::new([4_194_304, 129], Dtype::Bf16))).expect("fits");
        let prepared = rig.gpu.prepare(&plan, &Options::default()).expect("prepares");
        assert!(prepared.workgroups().len() < 100, "{}: {} dispatches", rig.name, prepared.workgroups().len());
    }
}
