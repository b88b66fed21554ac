//! Gradients of weight and bias may lie in one buffer with all that they come from, though some kernels write them beside
//! what they read where they can.

use crate::gradient_sample::GradientSample;
use crate::rig::{BackwardCall, Rig, rigs};
use crate::sample::Sample;
use std::ops::Range;
use wgpu_norm::gpu::{Buffers, Options, Strategy};
use wgpu_norm::norm::{BatchNorm, LayerNorm, Norm, Operands};
use wgpu_norm::{Dtype, Spec, Wanted};

/// Contents one after the other, each where a binding may begin.
#[derive(Default)]
struct Arena {
    bytes: Vec<u8>,
}

impl Arena {
    fn put(&mut self, content: &[u8]) -> Range<u64> {
        let begin = self.bytes.len();
        self.bytes.extend(content);
        let end = self.bytes.len();
        self.bytes.resize(end.next_multiple_of(256), 0);
        begin as u64..end as u64
    }
}

/// The gradients of input, weight and bias, where everything but the first is in one buffer.
fn in_an_arena(rig: &Rig, call: &BackwardCall<'_>) -> [Vec<u8>; 3] {
    let weight = call.weight.as_ref().expect("there is a weight").bytes();
    let mut arena = Arena::default();
    let [input, grad_output, statistics, of_weight, grad_weight, grad_bias] = [
        call.input.bytes(),
        call.grad_output.bytes(),
        bytemuck::cast_slice(&call.statistics),
        weight,
        &vec![0xa5; weight.len()],
        &vec![0xa5; weight.len()],
    ]
    .map(|content| arena.put(content));
    let grad_input = rig.guarded(0, &vec![0; call.input.bytes().len()]);
    let buffer = rig.guarded(0, &arena.bytes);
    let slice = |range: &Range<u64>| buffer.slice(range.clone());
    let buffers = Buffers::backward(slice(&input), slice(&grad_output), slice(&statistics))
        .weight(slice(&of_weight))
        .grad_input(grad_input.slice(..call.input.bytes().len() as u64))
        .grad_weight(slice(&grad_weight))
        .grad_bias(slice(&grad_bias));
    let prepared = rig.gpu.prepare_backward(call.plan, call.wanted, &call.options).expect("prepares");
    rig.submit(&prepared.bind(&buffers).expect("one buffer is taken"));
    assert_eq!(rig.complaints(), Vec::<String>::new(), "{}", rig.name);
    let after = rig.read(&buffer);
    let at = |range: Range<u64>| {
        let [from, to] = [range.start, range.end].map(|at| usize::try_from(at).expect("small"));
        after[from..to].to_vec()
    };
    let mut of_input = vec![0; call.input.bytes().len()];
    rig.fetch(&grad_input, 0, &mut of_input);
    [of_input, at(grad_weight), at(grad_bias)]
}

#[test]
fn gradients_lie_beside_what_they_come_from() {
    let sample = |norm: &dyn Norm, shape: &[usize], channels: usize| {
        let spec = |shape: &[usize]| Spec::new(shape, Dtype::F32);
        let operands = Operands::new(spec(shape)).weight(spec(&[channels])).bias(spec(&[channels]));
        GradientSample::new(&Sample::new(norm, &operands, 0.0))
    };
    let samples = [
        (sample(&BatchNorm::new(), &[700, 33], 33), Strategy::Column),
        (sample(&BatchNorm::new(), &[2, 7, 9001], 7), Strategy::Split),
        (sample(&LayerNorm::new([9001]), &[3, 9001], 9001), Strategy::Split),
    ];
    for rig in rigs().into_iter().flat_map(|rig| [rig.as_discrete(), rig]) {
        for (sample, strategy) in &samples {
            let wanted = Wanted::all(&sample.plan);
            let call = sample.call(Options::default().strategy(*strategy), wanted, 0);
            let apart = rig.run_backward(&call).expect("it runs");
            let apart = [&apart.input, &apart.weight, &apart.bias];
            let apart = apart.map(|data| data.as_ref().expect("it was wanted").bytes().to_vec());
            assert!(in_an_arena(&rig, &call) == apart, "{}: {} {strategy}", rig.name, sample.name);
        }
    }
}
