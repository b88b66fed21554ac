//! Passes in two halves, with nothing exchanged in between, give the bits of whole ones.

use crate::gradient_sample::GradientSample;
use crate::rig::{Rig, from, rigs};
use crate::sample::Sample;
use wgpu_norm::gpu::{Buffers, Options, Part, Strategy};
use wgpu_norm::norm::{BatchNorm, Fused, GroupNorm, InstanceNorm, LayerNorm, Norm, Operands, RmsNorm};
use wgpu_norm::plan::Activation;
use wgpu_norm::{Data, Dtype, Error, Layout, Spec, Wanted};

/// Bytes before each tensor in its buffer: a multiple of any binding's alignment and of nothing more.
const OFFSET: u64 = 256;

fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    for dtype in Dtype::ALL {
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            let (shape, long) = match layout {
                Layout::ChannelsFirst => ([3, 6, 35], [2, 3, 9001]),
                Layout::ChannelsLast => ([3, 35, 6], [2, 9001, 3]),
            };
            let of = |shape: &[usize], channels: usize| {
                let spec = |shape: &[usize]| Spec::new(shape, dtype);
                Operands::new(spec(shape)).weight(spec(&[channels])).bias(spec(&[channels]))
            };
            let batch = BatchNorm::new().layout(layout);
            let norms: [(Box<dyn Norm>, Operands); 6] = [
                (Box::new(batch.clone()), of(&shape, 6)),
                (Box::new(batch.clone()), of(&long, 3)),
                (Box::new(batch), Operands::new(Spec::new(shape, dtype))),
                (Box::new(GroupNorm::new(2).layout(layout)), of(&shape, 6)),
                (Box::new(InstanceNorm::new().layout(layout)), of(&shape, 6)),
                (
                    Box::new(Fused::new(BatchNorm::new().layout(layout)).activation(Activation::Silu)),
                    of(&shape, 6).residual(Spec::new(shape, dtype)),
                ),
            ];
            samples.extend(norms.iter().map(|(norm, operands)| Sample::new(&**norm, operands, 0.0)));
        }
    }
    let rows = Operands::new(Spec::new([5, 384], Dtype::F32)).weight(Spec::new([384], Dtype::F32));
    samples.push(Sample::new(&LayerNorm::new([384]), &rows, 0.0));
    samples.push(Sample::new(&RmsNorm::new([384]), &rows, 0.0));
    samples
}

/// What stands between the halves, and what comes of both.
#[derive(Debug, PartialEq)]
struct Outcome {
    tensors: Vec<Data>,
    between: Vec<u8>,
}

impl Rig {
    fn place(&self, data: &Data) -> wgpu::Buffer {
        self.guarded(OFFSET, &vec![0xff; data.bytes().len()])
    }

    fn taken(&self, buffer: &wgpu::Buffer, like: &Data) -> Data {
        let mut data = like.clone();
        self.fetch(buffer, OFFSET, data.bytes_mut());
        data
    }

    fn forward_halves(&self, sample: &Sample, options: Options) -> Result<Outcome, Error> {
        let reduce = self.gpu.prepare(&sample.plan, &options.part(Part::Reduce))?;
        let apply = self.gpu.prepare(&sample.plan, &options.strategy(None).part(Part::Apply))?;
        let guarded = |data: &Data| self.guarded(OFFSET, data.bytes());
        let (input, output) = (guarded(&sample.input), self.place(&sample.input));
        let [weight, bias, residual] =
            [&sample.weight, &sample.bias, &sample.residual].map(|data| data.as_ref().map(guarded));
        let sum = residual.as_ref().map(|_| self.place(&sample.input));
        let entries = 16 * sample.plan.kept_statistics();
        let statistics = self.guarded(48, &vec![0xff; entries]);
        let to = OFFSET + sample.input.bytes().len() as u64;
        let first = Buffers::reduce(input.slice(OFFSET..to), statistics.slice(48..))
            .residual(from(OFFSET, &residual), from(OFFSET, &sum));
        let normalized = sum.as_ref().unwrap_or(&input);
        let second = Buffers::new(normalized.slice(OFFSET..to), output.slice(OFFSET..to))
            .statistics(statistics.slice(48..))
            .weight(from(OFFSET, &weight))
            .bias(from(OFFSET, &bias));
        self.submit(&reduce.bind(&first)?);
        self.submit(&apply.bind(&second)?);
        let mut between = vec![0; entries];
        self.fetch(&statistics, 48, &mut between);
        let tensors = [Some(&output), sum.as_ref()].into_iter().flatten();
        Ok(Outcome { tensors: tensors.map(|buffer| self.taken(buffer, &sample.input)).collect(), between })
    }

    fn backward_halves(&self, sample: &GradientSample, options: Options, wanted: Wanted) -> Result<Vec<Data>, Error> {
        let call = sample.call(options, wanted, OFFSET);
        let reduce = self.gpu.prepare_backward(call.plan, wanted, &call.options.part(Part::Reduce))?;
        let apply = self.gpu.prepare_backward(call.plan, wanted, &call.options.strategy(None).part(Part::Apply))?;
        let guarded = |data: &Data| self.guarded(OFFSET, data.bytes());
        let to = OFFSET + call.input.bytes().len() as u64;
        let (input, grad_output) = (guarded(&call.input), guarded(&call.grad_output));
        let statistics = self.guarded(32, bytemuck::cast_slice(&call.statistics));
        let [weight, bias, grad_sum] =
            [&call.weight, &call.bias, &call.grad_sum].map(|data| data.as_ref().map(guarded));
        let bytes = 8 * call.plan.view().statistics();
        let sums = self.guarded(OFFSET, &vec![0xff; bytes]);
        let common = Buffers::backward(input.slice(OFFSET..to), grad_output.slice(OFFSET..to), statistics.slice(32..))
            .sums(sums.slice(OFFSET..))
            .weight(from(OFFSET, &weight))
            .bias(from(OFFSET, &bias));
        let of_input = self.place(&call.input);
        let of_weight = call.weight.as_ref().map(|data| self.place(data));
        let of_bias = call.bias.as_ref().map(|data| self.place(data));
        let first = common
            .grad_weight(from(OFFSET, &of_weight).filter(|_| wanted.weight))
            .grad_bias(from(OFFSET, &of_bias).filter(|_| wanted.bias));
        let second = common.grad_input(of_input.slice(OFFSET..to)).grad_sum(from(OFFSET, &grad_sum));
        self.submit(&reduce.bind(&first)?);
        self.submit(&apply.bind(&second)?);
        self.fetch(&sums, OFFSET, &mut vec![0; bytes]);
        let mut results = vec![self.taken(&of_input, &call.input)];
        let parameters = [(of_weight, &call.weight, wanted.weight), (of_bias, &call.bias, wanted.bias)];
        for (buffer, like, wanted) in parameters {
            if let (Some(buffer), Some(like), true) = (buffer, like, wanted) {
                results.push(self.taken(&buffer, like));
            }
        }
        Ok(results)
    }
}

fn in_steps(rig: &Rig, sample: &Sample) -> Vec<Strategy> {
    let serves = |strategy: &Strategy| strategy.supports(&sample.plan, rig.gpu.capabilities()).is_ok();
    [Strategy::Split, Strategy::Column].into_iter().filter(serves).collect()
}

#[test]
fn forward_in_halves_has_the_bits_of_the_whole() {
    let all: Vec<Rig> = rigs();
    let small: Vec<Rig> = all.iter().map(|rig| rig.with_bindings_of(16 << 10)).collect();
    for (rig, samples) in all.iter().map(|rig| (rig, samples())).chain(small.iter().map(|rig| (rig, fit_for_small()))) {
        for sample in &samples {
            for strategy in in_steps(rig, sample) {
                let options = Options::default().strategy(strategy);
                let whole = rig.run(&sample.call(options.save_statistics(true), OFFSET)).expect("a whole pass");
                let halves = rig.forward_halves(sample, options).expect("two halves");
                let tensors: Vec<Data> = [Some(whole.output), whole.sum].into_iter().flatten().collect();
                let between = bytemuck::cast_slice(&whole.statistics).to_vec();
                let name = format!("{}: {} {strategy}", rig.name, sample.name);
                assert!(halves == Outcome { tensors, between }, "{name}");
            }
        }
        assert!(rig.complaints().is_empty());
    }
}

/// Samples whose groups' sums and parts fit a small binding, though the tensors do not.
fn fit_for_small() -> Vec<Sample> {
    let operands = |dtype| Operands::new(Spec::new([40, 6, 35], dtype)).weight(Spec::new([6], dtype));
    let samples = Dtype::ALL.map(|dtype| Sample::new(&BatchNorm::new(), &operands(dtype), 0.0));
    samples.into_iter().collect()
}

#[test]
fn backward_in_halves_has_the_bits_of_the_whole() {
    let all: Vec<Rig> = rigs().into_iter().flat_map(|rig| [rig.as_discrete(), rig]).collect();
    let small: Vec<Rig> = all.iter().map(|rig| rig.with_bindings_of(16 << 10)).collect();
    for (rig, samples) in all.iter().map(|rig| (rig, samples())).chain(small.iter().map(|rig| (rig, fit_for_small()))) {
        for sample in &samples {
            let gradients = GradientSample::new(sample);
            for strategy in in_steps(rig, sample) {
                let options = Options::default().strategy(strategy);
                for wanted in
                    [Wanted::all(&sample.plan), Wanted { input: true, weight: false, bias: false, extra: false }]
                {
                    let whole = rig.run_backward(&gradients.call(options, wanted, OFFSET)).expect("a whole pass");
                    let want: Vec<Data> = [whole.input, whole.weight, whole.bias].into_iter().flatten().collect();
                    let got = rig.backward_halves(&gradients, options, wanted).expect("two halves");
                    assert!(got == want, "{}: {} {strategy} {wanted:?}", rig.name, sample.name);
                }
            }
        }
        assert!(rig.complaints().is_empty());
    }
}

#[test]
fn halves_are_refused_where_there_are_none() {
    for rig in rigs() {
        let operands = Operands::new(Spec::new([4, 3, 5], Dtype::F32)).running(3, true);
        let evaluation = BatchNorm::new().training(false).lower(&operands).expect("it fits");
        let text = rig.gpu.prepare(&evaluation, &Options::default().part(Part::Reduce)).expect_err("given").to_string();
        assert!(text.starts_with("part: not expected"), "{text}");
        let training = BatchNorm::new().lower(&operands).expect("it fits");
        let resident = Options::default().strategy(Strategy::Resident).part(Part::Apply);
        let rows = LayerNorm::new([5]).lower(&Operands::new(Spec::new([4, 5], Dtype::F32))).expect("it fits");
        assert!(matches!(rig.gpu.prepare(&rows, &resident), Err(Error::Strategy { .. })));
        let moments = Options::default().save_statistics(true).moments(true).part(Part::Reduce);
        assert!(matches!(rig.gpu.prepare(&training, &moments), Err(Error::Unexpected { argument: "moments", .. })));
        // Every buffer has its half.
        let reduce = rig.gpu.prepare(&training, &Options::default().part(Part::Reduce)).expect("its own");
        let buffer = rig.guarded(0, &[0; 240]);
        let error = reduce.bind(&Buffers::new(buffer.slice(..), buffer.slice(..))).expect_err("no output yet");
        assert!(matches!(error, Error::Unexpected { argument: "output", .. }), "{error}");
        assert!(rig.complaints().is_empty());
    }
}
