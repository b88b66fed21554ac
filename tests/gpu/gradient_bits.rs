//! The bits of gradients: the same every time, and those of a row the same in any batch.

use crate::gradient_sample::GradientSample;
use crate::rig::{Rig, rigs};
use crate::sample::Sample;
use wgpu_norm::gpu::{Options, Strategy};
use wgpu_norm::norm::{BatchNorm, GroupNorm, InstanceNorm, LayerNorm, Norm, Operands, RmsNorm};
use wgpu_norm::plan::Gradients;
use wgpu_norm::{Data, Dtype, Layout, Spec, Wanted};

fn sample(norm: &dyn Norm, shape: &[usize], parameters: &[usize], dtype: Dtype) -> GradientSample {
    let spec = |shape: &[usize]| Spec::new(shape, dtype);
    let operands = Operands::new(spec(shape)).weight(spec(parameters)).bias(spec(parameters));
    GradientSample::new(&Sample::new(norm, &operands, 0.0))
}

fn run(rig: &Rig, sample: &GradientSample, strategy: Option<Strategy>) -> Gradients {
    let call = sample.call(Options::default().strategy(strategy), Wanted::all(&sample.plan), 0);
    rig.run_backward(&call).expect("runs")
}

#[test]
fn fifty_runs_give_the_same_gradients() {
    let samples = [
        sample(&LayerNorm::new([384]), &[300, 384], &[384], Dtype::F32),
        sample(&RmsNorm::new([33]), &[1000, 33], &[33], Dtype::Bf16),
        sample(&LayerNorm::new([40_000]), &[3, 40_000], &[40_000], Dtype::F32),
        sample(&GroupNorm::new(4), &[3, 12, 35], &[12], Dtype::F16),
        sample(&BatchNorm::new(), &[16, 33, 50], &[33], Dtype::F32),
        sample(&BatchNorm::new().layout(Layout::ChannelsLast), &[16, 50, 33], &[33], Dtype::F32),
    ];
    for rig in rigs() {
        for sample in &samples {
            let first = run(&rig, sample, None);
            for i in 1..50 {
                assert_eq!(run(&rig, sample, None), first, "{}: {} run {i}", rig.name, sample.name);
            }
        }
    }
}

/// The first `samples` of a sample's tensors, and their groups' statistics.
fn head_of(
    sample: &GradientSample,
    norm: &dyn Norm,
    shape: &[usize],
    parameters: usize,
    samples: usize,
) -> GradientSample {
    let shape: Vec<usize> = std::iter::once(samples).chain(shape[1..].iter().copied()).collect();
    let mut head = self::sample(norm, &shape, &[parameters], sample.plan.dtype());
    let elements: usize = shape.iter().product();
    let first = |data: &Data| Data::from_f64(data.dtype(), &data.to_f64()[..elements]);
    (head.input, head.grad_output) = (first(&sample.input), first(&sample.grad_output));
    head.statistics = sample.statistics[..head.plan.view().statistics()].to_vec();
    head
}

/// Sums of more groups than 256, of more terms than one lane adds.
#[test]
fn a_samples_gradient_has_the_same_bits_among_hundreds_on_a_gpu() {
    let (norm, shape) = (GroupNorm::new(1), [260, 520, 2]);
    let whole = sample(&norm, &shape, &[520], Dtype::F32);
    let part = head_of(&whole, &norm, &shape, 520, 3);
    for rig in rigs().iter().map(Rig::as_discrete) {
        let all = run(&rig, &whole, Some(Strategy::Split)).input.expect("wanted");
        let some = run(&rig, &part, Some(Strategy::Split)).input.expect("wanted");
        assert!(all.bytes()[..some.bytes().len()] == *some.bytes(), "{}", rig.name);
    }
}

#[test]
fn a_rows_gradient_has_the_same_bits_in_any_batch() {
    let last = |norm: GroupNorm| norm.layout(Layout::ChannelsLast);
    let cases: [(Box<dyn Norm>, Vec<usize>, usize); 7] = [
        (Box::new(LayerNorm::new([7])), vec![300, 7], 7),
        (Box::new(LayerNorm::new([384])), vec![300, 384], 384),
        (Box::new(RmsNorm::new([20_000])), vec![9, 20_000], 20_000),
        (Box::new(GroupNorm::new(4)), vec![9, 12, 35], 12),
        (Box::new(last(GroupNorm::new(4))), vec![9, 35, 12], 12),
        (Box::new(InstanceNorm::new()), vec![9, 3, 700], 3),
        (Box::new(InstanceNorm::new().layout(Layout::ChannelsLast)), vec![9, 700, 3], 3),
    ];
    for rig in rigs().into_iter().flat_map(|rig| [rig.as_discrete(), rig]) {
        for (norm, shape, parameters) in &cases {
            let whole = sample(&**norm, shape, &[*parameters], Dtype::F32);
            for strategy in [Strategy::Resident, Strategy::Split, Strategy::Column] {
                let wanted = Wanted::all(&whole.plan);
                if strategy.supports_backward(&whole.plan, wanted, rig.gpu.capabilities()).is_err() {
                    continue;
                }
                let all = run(&rig, &whole, Some(strategy)).input.expect("wanted");
                for samples in [1, 2, 5, 8] {
                    let part = head_of(&whole, &**norm, shape, *parameters, samples);
                    let some = run(&rig, &part, Some(strategy)).input.expect("wanted");
                    let same = all.bytes()[..some.bytes().len()] == *some.bytes();
                    assert!(same, "{}: {} {strategy}, {samples} samples alone", rig.name, whole.name);
                }
            }
        }
    }
}
