//! The same input gives the same bits: again and again, alone and in a batch, wherever in it.

use crate::rig::{Call, rigs};
use crate::sample::noise;
use wgpu_norm::gpu::{Options, Strategy};
use wgpu_norm::norm::{GroupNorm, InstanceNorm, LayerNorm, Norm, Operands, RmsNorm};
use wgpu_norm::plan::{Arguments, Plan};
use wgpu_norm::{Choice, Data, Dtype, Engine, Layout, Spec};

/// Executes a plan on an input.
type Executor = Box<dyn Fn(&Plan, &Data) -> Data>;

/// The CPU backend, and every strategy on every adapter; `None` where a strategy does not serve the plan.
fn executors(example: &Plan) -> Vec<(String, Executor)> {
    let cpu = pollster::block_on(Engine::open(&Choice::Cpu)).expect("the CPU is there");
    let on_cpu: Executor = Box::new(move |plan, input| {
        let mut output = Data::zeros(plan.dtype(), input.len());
        let parameters = parameters(plan);
        let mut arguments =
            Arguments { weight: parameters.as_ref(), bias: parameters.as_ref(), ..Arguments::default() };
        pollster::block_on(cpu.execute(plan, Some(input), &mut arguments, &mut output)).expect("the plan runs");
        output
    });
    let mut all = vec![("cpu".to_owned(), on_cpu)];
    for rig in rigs() {
        let rig = std::rc::Rc::new(rig);
        for strategy in Strategy::ALL {
            if strategy.supports(example, rig.gpu.capabilities()).is_err() {
                continue;
            }
            let rig = rig.clone();
            let name = format!("{} {strategy}", rig.name);
            let run: Executor = Box::new(move |plan, input| {
                let options = Options::default().strategy(strategy);
                let call = Call {
                    weight: parameters(plan),
                    bias: parameters(plan),
                    ..Call::new(plan, options, input.clone())
                };
                rig.run(&call).expect("the plan runs").output
            });
            all.push((name, run));
        }
    }
    all
}

/// What is weight and bias both, where the plan has them.
fn parameters(plan: &Plan) -> Option<Data> {
    plan.has_weight().then(|| Data::from_f64(plan.dtype(), &noise(11, plan.affine().map.len)))
}

/// The norms with per-sample statistics, with the shape of one sample.
fn norms(short: bool) -> Vec<(Box<dyn Norm>, Vec<usize>)> {
    let long = if short { 1 } else { 250 };
    vec![
        (Box::new(LayerNorm::new([40 * long])), vec![40 * long]),
        (Box::new(LayerNorm::over_axes([1])), vec![20 * long, 6]),
        (Box::new(RmsNorm::new([37 * long])), vec![37 * long]),
        (Box::new(GroupNorm::new(2)), vec![4, 10 * long]),
        (Box::new(GroupNorm::new(2).layout(Layout::ChannelsLast)), vec![10 * long, 4]),
        (Box::new(InstanceNorm::new()), vec![2, 18 * long]),
        (Box::new(InstanceNorm::new().layout(Layout::ChannelsLast)), vec![18 * long, 2]),
    ]
}

/// Every third sample of the batch is `sample`; the others are noise.
fn assert_batch_changes_nothing(norm: &dyn Norm, sample_shape: &[usize], dtype: Dtype, batches: &[usize]) {
    assert_other_samples_change_nothing(norm, sample_shape, None, dtype, batches);
}

/// The same, with parameters of this shape.
fn assert_other_samples_change_nothing(
    norm: &dyn Norm,
    sample_shape: &[usize],
    parameters: Option<&[usize]>,
    dtype: Dtype,
    batches: &[usize],
) {
    let plan = |batch: usize| {
        let shape: Vec<usize> = std::iter::once(batch).chain(sample_shape.iter().copied()).collect();
        let operands = Operands::new(Spec::new(shape, dtype));
        let operands = match parameters {
            Some(shape) => operands.weight(Spec::new(shape, dtype)).bias(Spec::new(shape, dtype)),
            None => operands,
        };
        norm.lower(&operands).expect("the shape fits")
    };
    let elements: usize = sample_shape.iter().product();
    let sample = noise(7, elements);
    for (name, run) in executors(&plan(3)) {
        let alone = run(&plan(1), &Data::from_f64(dtype, &sample));
        for &batch in batches {
            let mut input = noise(8, batch * elements);
            for i in (0..batch).step_by(3) {
                input[i * elements..(i + 1) * elements].copy_from_slice(&sample);
            }
            let output = run(&plan(batch), &Data::from_f64(dtype, &input));
            for i in (0..batch).step_by(3) {
                let bytes = elements * dtype.size();
                assert!(
                    output.bytes()[i * bytes..(i + 1) * bytes] == *alone.bytes(),
                    "{name}: sample {i} of {batch} of {sample_shape:?} {dtype} differs from the same sample alone"
                );
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_in_any_batch() {
    for (norm, shape) in norms(true) {
        assert_batch_changes_nothing(&*norm, &shape, Dtype::F32, &[3, 255, 256, 257, 4096]);
    }
    for dtype in [Dtype::F16, Dtype::Bf16] {
        assert_batch_changes_nothing(&LayerNorm::new([40]), &[40], dtype, &[3, 257]);
        assert_batch_changes_nothing(&RmsNorm::new([37]), &[37], dtype, &[3, 257]);
    }
}

/// Of samples with the same parameters software adapters take several together.
#[test]
fn a_row_has_the_same_bits_among_those_that_share_its_parameters() {
    for dtype in Dtype::ALL {
        for d in [38, 1030] {
            assert_other_samples_change_nothing(&LayerNorm::new([d]), &[d], Some(&[d]), dtype, &[3, 67, 130]);
        }
        let norm = GroupNorm::new(2).layout(Layout::ChannelsLast);
        assert_other_samples_change_nothing(&norm, &[130, 4], Some(&[4]), dtype, &[3, 67]);
    }
}

#[test]
fn a_row_has_the_same_bits_among_70000() {
    for (norm, shape) in norms(true) {
        assert_batch_changes_nothing(&*norm, &shape, Dtype::F32, &[70_000]);
    }
}

#[test]
fn a_long_row_has_the_same_bits_in_any_batch() {
    for (norm, shape) in norms(false) {
        assert_batch_changes_nothing(&*norm, &shape, Dtype::F32, &[3, 40]);
    }
}

/// Whoever merges moments, and whichever way lanes meet.
#[test]
fn streaming_and_split_give_the_same_bits() {
    let shape = [3, 100_003];
    let plan = LayerNorm::new([shape[1]]).lower(&Operands::new(Spec::new(shape, Dtype::F32))).expect("fits");
    let input = Data::from_f64(Dtype::F32, &noise(9, shape[0] * shape[1]));
    for rig in rigs().into_iter().flat_map(|rig| [rig.as_discrete(), rig]) {
        let run = |strategy, subgroups| {
            let options = Options::default().strategy(strategy).subgroups(subgroups).save_statistics(true);
            let input = input.clone();
            rig.run(&Call::new(&plan, options, input)).expect("runs")
        };
        let streaming = run(Strategy::Streaming, true);
        for subgroups in [true, false] {
            assert_eq!(run(Strategy::Split, subgroups), streaming, "{}, subgroups: {subgroups}", rig.name);
        }
    }
}

#[test]
fn fifty_runs_give_the_same_bits() {
    for (norm, sample) in norms(true).into_iter().chain(norms(false)) {
        let shape: Vec<usize> = std::iter::once(5).chain(sample).collect();
        let plan = norm.lower(&Operands::new(Spec::new(shape.clone(), Dtype::F32))).expect("fits");
        let input = Data::from_f64(Dtype::F32, &noise(10, shape.iter().product()));
        for (name, run) in executors(&plan) {
            let first = run(&plan, &input);
            for repetition in 1..50 {
                assert_eq!(run(&plan, &input), first, "{name}: repetition {repetition} of {shape:?}");
            }
        }
    }
}
