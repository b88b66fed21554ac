//! Teams that join the moments or sums of their groups themselves: the reference's results, and the bits of dispatches that
//! join them.

use crate::gradient_sample::GradientSample;
use crate::rig::{Rig, rigs};
use crate::sample::Sample;
use wgpu_norm::gpu::{Options, Strategy};
use wgpu_norm::norm::{
    BatchNorm, FilterResponseNorm, Fused, GroupNorm, InstanceNorm, LayerNorm, Norm, Operands, RmsNorm,
};
use wgpu_norm::plan::{Activation, Epilogue, Extra};
use wgpu_norm::{Dtype, Spec, Wanted};

/// Units of the roundoff of f32; see `Sample::expected` and `GradientSample::expected`.
const UNITS: f64 = 16.0;

/// Adapters taken for GPUs, and those with bindings that hold a row's partial and little more.
fn discrete() -> Vec<Rig> {
    let discrete = rigs().into_iter().map(|rig| rig.as_discrete());
    discrete.flat_map(|rig| [rig.with_bindings_of(80 << 10), rig]).collect()
}

fn sample(norm: &dyn Norm, shape: &[usize], parameters: &[usize], dtype: Dtype) -> Sample {
    let spec = |shape: &[usize]| Spec::new(shape, dtype);
    Sample::new(norm, &Operands::new(spec(shape)).weight(spec(parameters)).bias(spec(parameters)), 3.0)
}

/// A norm with an activation and a weight about 0.
fn fused<N: Norm>(norm: N) -> Fused<N> {
    let activation = Some(Activation::Silu);
    Fused { norm, epilogue: Epilogue { activation, zero_centred_weight: true, rounds_normalized: false } }
}

/// Whether a kernel of this name is among the dispatches, as it is where shuffles are.
fn assert_joins(rig: &Rig, labels: &[String], kernel: &str, name: &str) {
    let joins = labels.iter().any(|label| label.contains(kernel));
    assert_eq!(joins, rig.gpu.capabilities().subgroups.is_some(), "{}: {name}: {labels:?}", rig.name);
}

/// Long groups in few partials.
fn long_groups() -> Vec<Sample> {
    let long = |dtype| Operands::new(Spec::new([3, 30_000], dtype)).weight(Spec::new([30_000], dtype));
    let learned_eps = Extra { eps_l: Some(Spec::new([1], Dtype::F32)), ..Extra::default() };
    let responses = Operands::new(Spec::new([2, 3, 9001], Dtype::F32)).weight(Spec::new([3], Dtype::F32));
    vec![
        sample(&LayerNorm::new([30_000]), &[3, 30_000], &[30_000], Dtype::F32),
        sample(&LayerNorm::new([30_000]), &[3, 30_000], &[30_000], Dtype::Bf16),
        sample(&LayerNorm::new([20_003]), &[2, 20_003], &[2, 20_003], Dtype::F32),
        sample(&fused(LayerNorm::new([20_004])), &[2, 20_004], &[20_004], Dtype::F16),
        sample(&GroupNorm::new(2), &[2, 4, 130, 71], &[4], Dtype::F32),
        sample(&BatchNorm::new(), &[16, 7, 1500], &[7], Dtype::F32),
        // Where bindings are small a piece ends amid four parameters.
        sample(&GroupNorm::new(2), &[2, 8, 130, 72], &[8], Dtype::F32),
        sample(&GroupNorm::new(2), &[2, 8, 150, 140], &[8], Dtype::Bf16),
        Sample::new(&RmsNorm::new([30_000]), &long(Dtype::F32).residual(Spec::new([3, 30_000], Dtype::F32)), 0.0),
        Sample::new(&FilterResponseNorm::new(), &responses.extra(learned_eps), 0.0),
    ]
}

#[test]
fn moments_that_teams_join_have_the_same_bits() {
    for rig in discrete() {
        for sample in long_groups() {
            let expected = sample.expected(UNITS);
            for (in_place, saves, offset) in [(false, false, 0), (true, true, 256), (false, true, 4)] {
                let options = Options::default()
                    .strategy(Strategy::Split)
                    .in_place(in_place)
                    .save_statistics(saves)
                    .offset_alignment(if offset == 4 { 4 } else { 16 });
                let name = format!("{}: {} {options:?}", rig.name, sample.name);
                let labels = rig.gpu.prepare(&sample.plan, &options).expect("prepares").labels();
                assert_joins(&rig, &labels, "merge_affine", &sample.name);
                let joined = rig.run(&sample.call(options, offset)).expect("it runs");
                expected.worst(&joined.output).unwrap_or_else(|fault| panic!("{name}: {fault}"));
                let apart = rig.run(&sample.call(options.subgroups(false), offset)).expect("it runs");
                assert!(joined == apart, "{name}: other bits where another dispatch merges");
            }
        }
        assert!(rig.complaints().is_empty(), "{}", rig.name);
    }
}

/// Long rows whose columns have parameters of their own.
fn long_rows() -> Vec<Sample> {
    let spec = |shape: &[usize]| Spec::new(shape, Dtype::F32);
    let one = |rows: usize, d: usize| Operands::new(spec(&[rows, d]));
    vec![
        sample(&LayerNorm::new([30_000]), &[3, 30_000], &[30_000], Dtype::F32),
        sample(&LayerNorm::new([20_003]), &[70, 20_003], &[20_003], Dtype::F32),
        sample(&LayerNorm::new([20_004]), &[1, 20_004], &[20_004], Dtype::F16),
        sample(&LayerNorm::new([2, 9001]), &[5, 2, 9001], &[2, 9001], Dtype::Bf16),
        Sample::new(&RmsNorm::new([30_000]), &one(9, 30_000).weight(spec(&[30_000])), 0.0),
        Sample::new(&LayerNorm::new([9001]), &one(40, 9001).bias(spec(&[9001])), 3.0),
    ]
}

#[test]
fn gradients_beside_sums_of_columns_have_the_same_bits() {
    let small = |rig: &Rig| rig.with_bindings_of(300 << 10);
    let rigs: Vec<Rig> = rigs().iter().flat_map(|rig| [rig.as_discrete(), rig.as_emulated(), small(rig)]).collect();
    for (k, rig) in rigs.iter().enumerate() {
        for sample in long_rows().iter().map(GradientSample::new) {
            let (expected, all) = (sample.expected(UNITS), Wanted::all(&sample.plan));
            for (offset, wanted) in [(0, all), (4, Wanted { bias: !sample.plan.has_weight(), ..all })] {
                let options =
                    Options::default().strategy(Strategy::Split).offset_alignment(if offset == 4 { 4 } else { 16 });
                let name = format!("{}: {} {wanted:?} {options:?}", rig.name, sample.name);
                let labels = rig.gpu.prepare_backward(&sample.plan, wanted, &options).expect("prepares").labels();
                let is_beside = !labels.iter().any(|label| label.starts_with("wgpu-norm.gradient"));
                // One dispatch takes all rows or none.
                let fits = k % 3 != 2 || sample.plan.tensor_bytes() < 300 << 10;
                assert_eq!(is_beside, fits, "{name}: {labels:?}");
                let beside = rig.run_backward(&sample.call(options, wanted, offset)).expect("it runs");
                expected.worst(wanted, &beside).unwrap_or_else(|fault| panic!("{name}: {fault}"));
                let apart = rig.run_backward(&sample.call(options.in_place(true), wanted, offset)).expect("it runs");
                assert!(beside == apart, "{name}: other bits where another dispatch writes");
            }
        }
        assert!(rig.complaints().is_empty(), "{}", rig.name);
    }
}

/// Groups whose sums are few: parts of one cell, or cells.
fn groups_of_few_parts() -> Vec<Sample> {
    vec![
        sample(&InstanceNorm::new(), &[3, 6, 9001], &[6], Dtype::F32),
        sample(&InstanceNorm::new(), &[2, 5, 20_000], &[5], Dtype::Bf16),
        sample(&fused(InstanceNorm::new()), &[3, 6, 9002], &[6], Dtype::F16),
        // In several chunks where bindings are small.
        sample(&GroupNorm::new(3), &[2000, 6, 84], &[6], Dtype::F32),
        sample(&fused(GroupNorm::new(2)), &[5, 4, 3000], &[5, 4], Dtype::F32),
    ]
}

#[test]
fn sums_that_teams_join_have_the_same_bits() {
    for rig in discrete() {
        for sample in groups_of_few_parts().iter().map(GradientSample::new) {
            let (expected, all) = (sample.expected(UNITS), Wanted::all(&sample.plan));
            for (in_place, offset, wanted) in [
                (false, 0, all),
                (true, 256, Wanted { bias: false, ..all }),
                (false, 4, Wanted { weight: false, ..all }),
            ] {
                let options = Options::default()
                    .strategy(Strategy::Split)
                    .in_place(in_place)
                    .offset_alignment(if offset == 4 { 4 } else { 16 });
                let name = format!("{}: {} {wanted:?} {options:?}", rig.name, sample.name);
                let labels = rig.gpu.prepare_backward(&sample.plan, wanted, &options).expect("prepares").labels();
                assert_joins(&rig, &labels, "collect_gradient", &sample.name);
                let joined = rig.run_backward(&sample.call(options, wanted, offset)).expect("it runs");
                expected.worst(wanted, &joined).unwrap_or_else(|fault| panic!("{name}: {fault}"));
                let apart = rig.run_backward(&sample.call(options.subgroups(false), wanted, offset)).expect("it runs");
                assert!(joined == apart, "{name}: other bits where another dispatch collects");
            }
        }
        assert!(rig.complaints().is_empty(), "{}", rig.name);
    }
}
