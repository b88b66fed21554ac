//! Every strategy's backward pass is forced on every plan that it serves, on every adapter, and compared with the
//! f64 reference; guard words round every buffer.

use crate::gradient_sample::GradientSample;
use crate::rig::{Rig, rigs};
use crate::sample::Sample;
use crate::tally::{Tally, in_turn};
use wgpu_norm::gpu::{Options, Strategy};
use wgpu_norm::norm::{BatchNorm, Fused, GroupNorm, InstanceNorm, LayerNorm, MomentShortcut, Norm, Operands, RmsNorm};
use wgpu_norm::plan::{Activation, Epilogue};
use wgpu_norm::{Choice, Dtype, Engine, Layout, Spec, Wanted};

/// Units of the roundoff of f32; see `GradientSample::expected`.
const UNITS: f64 = 16.0;

/// Norms in every layout, at rank 2 to 4, with 1 to 33 channels and groups beyond a team's registers.
fn samples(epilogue: Epilogue, offset: f64, dtypes: &[Dtype]) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut add = |norm: Box<dyn Norm>, shape: &[usize], parameters: &[usize], running: bool, residual: bool| {
        for &dtype in dtypes {
            let spec = |shape: &[usize]| Spec::new(shape, dtype);
            let mut operands = Operands::new(spec(shape)).weight(spec(parameters)).bias(spec(parameters));
            if running {
                operands = operands.running(*parameters.last().expect("some"), true);
            }
            if residual {
                operands = operands.residual(spec(shape));
            }
            let fused = Fused { norm: &*norm, epilogue };
            samples.push(Sample::with_deviation(&fused, &operands, offset, 3.5));
        }
    };
    for d in [1, 2, 3, 4, 7, 8, 13, 33, 64, 257, 384, 1025] {
        add(Box::new(LayerNorm::new([d])), &[67, d], &[d], false, d == 384 || d == 7);
    }
    add(Box::new(LayerNorm::new([20_000])), &[3, 20_000], &[20_000], false, false);
    add(Box::new(LayerNorm::new([20_001])), &[1, 20_001], &[20_001], false, false);
    add(Box::new(RmsNorm::new([384])), &[130, 384], &[384], false, true);
    add(Box::new(RmsNorm::new([5, 13])), &[9, 5, 13], &[5, 13], false, false);
    add(Box::new(LayerNorm::over_axes([1])), &[2, 37, 5, 8], &[37], false, false);
    add(Box::new(LayerNorm::over_axes([1, 3])), &[2, 6, 3, 20], &[6, 20], false, false);
    add(Box::new(LayerNorm::over_axes([1, 3])), &[2, 6, 3, 5], &[6, 5], false, false);
    // A scale and shift for each sample.
    add(Box::new(LayerNorm::new([24])), &[3, 70, 24], &[3, 24], false, false);
    add(Box::new(LayerNorm::new([9])), &[5, 9], &[5, 9], false, false);
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let image = |n, c, s: [usize; 2]| match layout {
            Layout::ChannelsFirst => [n, c, s[0], s[1]],
            Layout::ChannelsLast => [n, s[0], s[1], c],
        };
        let group = || Box::new(GroupNorm::new(4).layout(layout));
        let instance = || Box::new(InstanceNorm::new().layout(layout));
        let batch = |training| Box::new(BatchNorm::new().training(training).layout(layout));
        add(group(), &image(3, 12, [7, 5]), &[12], false, false);
        add(group(), &image(3, 12, [7, 5]), &[3, 12], false, false);
        add(group(), &image(3, 12, [1, 1]), &[12], false, false);
        add(instance(), &image(3, 3, [7, 5]), &[3], true, false);
        add(instance(), &image(3, 12, [7, 5]), &[3, 12], false, false);
        add(
            Box::new(InstanceNorm::new().use_input_stats(false).layout(layout)),
            &image(3, 4, [3, 5]),
            &[4],
            true,
            false,
        );
        add(batch(true), &image(3, 12, [7, 5]), &[12], true, true);
        add(batch(true), &image(4, 1, [2, 9]), &[1], true, false);
        add(batch(true), &image(3, 12, [7, 5]), &[3, 12], false, false);
        add(batch(false), &image(3, 12, [7, 5]), &[12], true, true);
        add(batch(false), &image(1, 2, [1, 3]), &[2], true, false);
    }
    add(Box::new(BatchNorm::new()), &[700, 33], &[33], true, false);
    add(Box::new(BatchNorm::new()), &[2, 7, 9001], &[7], true, false);
    add(Box::new(GroupNorm::new(3)), &[5, 9], &[9], false, false);
    samples
}

/// Runs a sample in those of the adapter's ways that are due; returns how many ways the adapter offers.
fn in_every_way(tally: &mut Tally<'_>, number: usize, sample: &GradientSample) -> usize {
    let (rig, expected) = (tally.rig, sample.expected(UNITS));
    let all = Wanted::all(&sample.plan);
    let mut offered = 0;
    for (kind, strategy) in Strategy::ALL.into_iter().enumerate() {
        let flows = sample.grad_moments.iter().any(Option::is_some);
        // Gradients of moments come in between what that kernel does at once.
        if flows && strategy == Strategy::Resident {
            continue;
        }
        let way = |(in_place, subgroups, native_f16, offset, wanted)| {
            let options = Options::default()
                .strategy(strategy)
                .in_place(in_place)
                .subgroups(subgroups)
                .native_f16(native_f16)
                .offset_alignment(if offset == 4 { 4 } else { 16 });
            let served = strategy.supports_backward(&sample.plan, wanted, &rig.capabilities(&options));
            served.is_ok().then_some((options, (offset, wanted)))
        };
        let all = [
            (false, true, true, 0, all),
            (true, false, false, 256, all),
            (false, false, false, 4, Wanted { weight: false, ..all }),
            (false, true, false, 0, Wanted { input: false, ..all }),
            (true, true, true, 4, Wanted { weight: false, bias: false, ..all }),
        ];
        let (ways, calls): (Vec<Options>, Vec<(u64, Wanted)>) = all.into_iter().filter_map(way).unzip();
        offered += ways.len();
        for due in tally.due([number, kind], sample.plan.dtype(), &ways) {
            let (options, (offset, wanted)) = (ways[due], calls[due]);
            let call = sample.call(options, wanted, offset);
            let result = rig.run_backward(&call).map_err(|error| error.to_string());
            let result = result.and_then(|gradients| expected.worst(wanted, &gradients));
            tally.add(sample.plan.dtype(), result, || format!("{} {strategy} {wanted:?} {options:?}", sample.name));
        }
    }
    offered
}

pub(crate) fn assert_all_ways(samples: &[Sample], rigs: &[Rig]) {
    assert_gradients(&samples.iter().map(GradientSample::new).collect::<Vec<_>>(), rigs);
}

pub(crate) fn assert_gradients(samples: &[GradientSample], rigs: &[Rig]) {
    assert_cpu(samples);
    for rig in rigs {
        let mut tally = Tally::new(rig);
        for (number, sample) in samples.iter().enumerate() {
            let offered = in_every_way(&mut tally, number, sample);
            assert!(offered > 0, "{}: no strategy serves {}", rig.name, sample.name);
        }
        tally.finish(UNITS);
    }
}

fn assert_cpu(samples: &[GradientSample]) {
    let cpu = pollster::block_on(Engine::open(&Choice::Cpu)).expect("the CPU is there");
    let mut worst = 0f64;
    for sample in samples {
        let all = Wanted::all(&sample.plan);
        for wanted in [all, Wanted { input: false, ..all }, Wanted { weight: false, bias: false, ..all }] {
            let result = pollster::block_on(cpu.execute_backward(&sample.plan, &sample.arguments(), wanted));
            let verdict = sample.expected(UNITS).worst(wanted, &result.expect("the arguments fit"));
            let share = verdict.unwrap_or_else(|fault| panic!("cpu: {} {wanted:?}: {fault}", sample.name));
            worst = if sample.plan.dtype() == Dtype::F32 { worst.max(share) } else { worst };
        }
    }
    println!("cpu: worst f32 error {:.2} units, {UNITS} allowed", worst * UNITS);
}

#[test]
fn every_strategy_gives_the_gradients_of_the_reference() {
    assert_all_ways(&samples(Epilogue::default(), 0.0, &Dtype::ALL), &rigs());
}

#[test]
fn an_offset_costs_gradients_no_digits() {
    assert_all_ways(&samples(Epilogue::default(), 1e4, &[Dtype::F32]), &rigs());
}

#[test]
fn the_layout_for_wide_workgroups_gives_them_too() {
    let rigs: Vec<Rig> = rigs().iter().map(Rig::as_discrete).collect();
    assert_all_ways(&samples(Epilogue::default(), 0.0, &Dtype::ALL), &rigs);
}

#[test]
fn activations_and_conventions_of_the_weight_have_their_gradients() {
    let rigs = rigs();
    for (turn, activation) in Activation::ALL.into_iter().enumerate() {
        let epilogue = Epilogue { activation: Some(activation), zero_centred_weight: true, rounds_normalized: false };
        assert_all_ways(&in_turn(samples(epilogue, 0.0, &[Dtype::F32]), turn), &rigs);
    }
    let epilogue = Epilogue { activation: Some(Activation::Silu), zero_centred_weight: true, rounds_normalized: true };
    assert_all_ways(&samples(epilogue, 0.0, &[Dtype::F16, Dtype::Bf16]), &rigs);
}

#[test]
fn a_tensor_in_many_pieces_has_the_same_gradients() {
    let rigs: Vec<Rig> = rigs().iter().map(|rig| rig.with_bindings_of(8 << 10)).collect();
    let small = |sample: &Sample| sample.plan.view().elements() < 40_000 && sample.plan.affine().map.len < 2000;
    let samples: Vec<Sample> = samples(Epilogue::default(), 0.0, &Dtype::ALL).into_iter().filter(small).collect();
    assert_all_ways(&samples, &rigs);
}

/// More sums of cells than fit scratch at once, where nobody asks for them; and more parameters, where somebody does.
#[test]
fn long_rows_and_many_parameters_are_no_obstacle() {
    let spec = |shape: &[usize]| Spec::new(shape, Dtype::F32);
    let row = |d: usize| Operands::new(spec(&[2, d]));
    let wide = Operands::new(Spec::new([3, 9000], Dtype::Bf16)).weight(spec(&[9000])).bias(spec(&[9000]));
    // A parameter for each sample and position.
    let each = Spec::new([3, 1, 9000], Dtype::Bf16);
    let each = Operands::new(Spec::new([3, 4, 9000], Dtype::Bf16)).weight(each.clone()).bias(each);
    // A sample is more than a binding, each of its groups is not.
    let images = Operands::new(spec(&[2, 64, 16, 20])).weight(spec(&[64])).bias(spec(&[64]));
    let images = Sample::new(&InstanceNorm::new(), &images, 0.0);
    let of_input = Wanted { input: true, weight: false, bias: false, extra: false };
    let of_all = |sample: &Sample| Wanted::all(&sample.plan);
    let shortcut = Sample::new(&MomentShortcut::new(), &each, 0.0);
    // One for each sample and position here too, each of which is a row.
    let rows = spec(&[2, 9000, 1]);
    let rows = Operands::new(spec(&[2, 9000, 2])).weight(rows.clone()).bias(rows);
    let rows = Sample::new(&MomentShortcut::new().layout(Layout::ChannelsLast), &rows, 0.0);
    // More statistics of the rows that are summed together than a binding holds.
    let pairs = Operands::new(spec(&[600, 32])).weight(spec(&[32])).bias(spec(&[32]));
    let pairs = Sample::new(&GroupNorm::new(16), &pairs, 0.0);
    // The same for two samples, whose rows are one more than scratch holds, and for three columns.
    let shared = |shape: &[usize], axes: &[isize], parameters: &[usize]| {
        let operands = Operands::new(spec(shape)).weight(spec(parameters)).bias(spec(parameters));
        Sample::new(&LayerNorm::over_axes(axes.to_vec()), &operands, 0.0)
    };
    let [twice, columns] = [shared(&[2, 8193, 2], &[1], &[8193]), shared(&[2, 9000, 3, 2], &[1, 3], &[9000, 2])];
    let cases = [
        (twice.clone(), of_all(&twice)),
        (columns.clone(), of_all(&columns)),
        (rows.clone(), of_all(&rows)),
        (pairs.clone(), of_all(&pairs)),
        (Sample::new(&LayerNorm::new([9000]), &row(9000), 0.0), of_input),
        (Sample::new(&RmsNorm::new([9000]), &row(9000).weight(spec(&[9000])), 0.0), of_input),
        (Sample::new(&LayerNorm::new([9000]), &wide, 0.0), of_input),
        (shortcut.clone(), of_all(&shortcut)),
        (images.clone(), of_all(&images)),
    ];
    for rig in rigs().iter().map(|rig| rig.with_bindings_of(64 << 10)) {
        for (sample, wanted) in &cases {
            let gradients = GradientSample::new(sample);
            let call = gradients.call(Options::default(), *wanted, 16);
            let prepared = rig.gpu.prepare_backward(&sample.plan, *wanted, &Options::default());
            let dispatches = prepared.map_or(0, |prepared| prepared.workgroups().len());
            assert!(dispatches < 100, "{}: {}: {dispatches} dispatches", rig.name, sample.name);
            let got = rig.run_backward(&call).unwrap_or_else(|error| panic!("{}: {}: {error}", rig.name, sample.name));
            let verdict = gradients.expected(UNITS).worst(*wanted, &got);
            verdict.unwrap_or_else(|fault| panic!("{}: {}: {fault}", rig.name, sample.name));
        }
    }
}

/// An application may keep its forward pass's options: where the sum goes says nothing of what is added backward.
#[test]
fn where_the_sum_goes_changes_no_gradient() {
    let spec = |shape: &[usize]| Spec::new(shape, Dtype::F32);
    let operands = Operands::new(spec(&[40, 96])).weight(spec(&[96])).residual(spec(&[40, 96]));
    let sample = GradientSample::new(&Sample::new(&LayerNorm::new([96]), &operands, 0.0));
    for rig in rigs().into_iter().flat_map(|rig| [rig.with_bindings_of(8 << 10), rig]) {
        let options = Options::default().offset_alignment(4);
        let call = |options: Options| sample.call(options, Wanted::all(&sample.plan), 4);
        let want = rig.run_backward(&call(options)).expect("it runs");
        let got = rig.run_backward(&call(options.sum_in_place(true))).expect("it runs");
        assert!(got == want, "{}", rig.name);
    }
}

#[test]
fn a_hundred_thousand_rows_have_gradients() {
    let spec = |shape: &[usize]| Spec::new(shape, Dtype::F32);
    let on = |norm: &dyn Norm, shape: &[usize], parameters: usize| {
        let operands = Operands::new(spec(shape)).weight(spec(&[parameters])).bias(spec(&[parameters]));
        Sample::new(norm, &operands, 0.0)
    };
    let samples = [
        on(&LayerNorm::new([6]), &[100_000, 6], 6),
        on(&BatchNorm::new(), &[100_000, 3], 3),
        on(&InstanceNorm::new(), &[50_000, 2, 3], 2),
    ];
    assert_all_ways(&samples, &rigs());
}
