//! Teams that take a block of groups, and load each while they are at work on the one before.

use crate::gradient_sample::GradientSample;
use crate::rig::{Rig, rigs};
use crate::sample::Sample;
use wgpu_norm::gpu::{Options, Strategy};
use wgpu_norm::norm::{LayerNorm, Operands, RmsNorm};
use wgpu_norm::{Dtype, Spec, Wanted};

const UNITS: f64 = 16.0;

/// The layout of a GPU, with whole tensors and with tensors in pieces.
fn discrete() -> Vec<Rig> {
    let whole: Vec<Rig> = rigs().iter().map(Rig::as_discrete).collect();
    let in_pieces: Vec<Rig> = whole.iter().map(|rig| rig.with_bindings_of(3 << 20)).collect();
    whole.into_iter().chain(in_pieces).collect()
}

fn of(rows: usize, d: usize, dtype: Dtype) -> Operands {
    let spec = |shape: &[usize]| Spec::new(shape, dtype);
    Operands::new(spec(&[rows, d])).weight(spec(&[d])).bias(spec(&[d]))
}

/// Groups that the layout gives a workgroup, of so many.
fn groups_a_workgroup(groups: usize, workgroups: [u32; 2]) -> f64 {
    groups as f64 / (f64::from(workgroups[0]) * f64::from(workgroups[1]))
}

/// How options and offsets of the tensors are varied.
fn ways() -> [(Options, u64); 3] {
    let resident = Options::default().strategy(Strategy::Resident);
    [
        (resident, 0),
        (resident.in_place(true).subgroups(false).native_f16(false), 256),
        (resident.native_f16(false).offset_alignment(4), 4),
    ]
}

#[test]
fn gradients_of_blocks_of_rows_agree() {
    let samples = [
        Sample::new(&LayerNorm::new([64]), &of(8_195, 64, Dtype::F32), 3.0),
        Sample::new(&LayerNorm::new([62]), &of(8_195, 62, Dtype::F16), 3.0),
        Sample::new(&RmsNorm::new([256]), &of(4_099, 256, Dtype::Bf16), 0.0),
    ];
    for rig in discrete() {
        for sample in samples.iter().map(GradientSample::new) {
            let (expected, wanted) = (sample.expected(UNITS), Wanted::all(&sample.plan));
            for (options, offset) in ways() {
                let prepared = rig.gpu.prepare_backward(&sample.plan, wanted, &options).expect("resident serves it");
                let each = groups_a_workgroup(sample.plan.view().statistics(), prepared.workgroups()[0]);
                assert!(each > 3.0 || prepared.workgroups().len() > 2, "{}: {each} rows a workgroup", rig.name);
                let got = rig.run_backward(&sample.call(options, wanted, offset)).expect("it runs");
                let verdict = expected.worst(wanted, &got);
                verdict.unwrap_or_else(|fault| panic!("{}: {} {options:?}: {fault}", rig.name, sample.name));
            }
        }
    }
}
