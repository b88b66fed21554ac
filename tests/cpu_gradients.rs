//! Gradients of the CPU backend against the f64 reference, in shapes that take each of its ways through memory.

use wgpu_norm::norm::{
    BatchNorm, ConditionalBatchNorm, Fused, GroupNorm, InstanceNorm, LayerNorm, Norm, Operands, PositionalNorm,
    SandwichBatchNorm,
};
use wgpu_norm::plan::{Activation, Arguments, Extra, GradientArguments, Gradients, Plan, Statistics};
use wgpu_norm::{Choice, Data, Dtype, Engine, Layout, Parameters, RunningStatistics, Spec, Tensor, Wanted};

/// A normalization of one shape, with as many parameters as the last number says.
type Way = (&'static str, Box<dyn Norm>, Vec<usize>, Option<usize>);

/// Lengths about those at which short rows are taken otherwise; of one element no gradient is left.
const SHORT: [usize; 21] = [2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 20, 24, 31, 32, 33, 64, 100, 129, 256, 257];

fn activated(norm: impl Norm + 'static, activation: Activation) -> Box<dyn Norm> {
    Box::new(Fused::new(norm).activation(activation))
}

fn ways() -> Vec<Way> {
    let evaluated = BatchNorm::new().training(false);
    let nhwc = || BatchNorm::new().layout(Layout::ChannelsLast);
    // Rows enough for batches of them, and some that fill none.
    let short = |d: usize| -> Way { ("short rows", Box::new(LayerNorm::new([d])), vec![77, d], Some(d)) };
    let mut ways: Vec<Way> = SHORT.into_iter().map(short).collect();
    let others: [Way; 26] = [
        ("few elements, more rows than f32 adds up", Box::new(LayerNorm::new([3])), vec![2100, 3], Some(3)),
        ("added short rows", Box::new(LayerNorm::new([5])), vec![37, 5], Some(5)),
        ("added rows", Box::new(LayerNorm::new([100])), vec![37, 100], Some(100)),
        ("rows, more than f32 adds up", Box::new(LayerNorm::new([200])), vec![150, 200], Some(200)),
        ("rows of whole and broken blocks", Box::new(LayerNorm::new([2500])), vec![9, 2500], Some(2500)),
        ("rows beyond a cache", Box::new(LayerNorm::new([300_001])), vec![3, 300_001], Some(300_001)),
        ("two blocks of long rows", Box::new(LayerNorm::new([70_001])), vec![19, 70_001], Some(70_001)),
        ("short rows", Box::new(LayerNorm::new([33])), vec![130, 33], Some(33)),
        ("runs of shared parameters", Box::new(GroupNorm::new(3)), vec![5, 6, 10, 13], Some(6)),
        ("one parameter a group", Box::new(InstanceNorm::new()), vec![3, 4, 20, 21], Some(4)),
        ("one parameter a short group", Box::new(InstanceNorm::new()), vec![9, 40, 5, 5], Some(40)),
        ("bands that a cache holds", Box::new(BatchNorm::new()), vec![7, 70, 25, 25], Some(70)),
        ("bands beyond a cache", Box::new(BatchNorm::new()), vec![30, 2, 100, 100], Some(2)),
        ("given statistics", Box::new(BatchNorm::new().training(false)), vec![7, 70, 25, 25], Some(70)),
        ("given statistics of columns", Box::new(BatchNorm::new().training(false)), vec![150, 70], Some(70)),
        ("columns", Box::new(BatchNorm::new()), vec![150, 70], Some(70)),
        ("columns, several tiles", Box::new(nhwc()), vec![3, 9, 5, 1100], Some(1100)),
        ("columns beyond a cache", Box::new(nhwc()), vec![9, 50, 40, 30], Some(30)),
        ("columns without parameters", Box::new(PositionalNorm::new()), vec![3, 70, 9, 9], None),
        ("columns with parameters along rows", Box::new(LayerNorm::over_axes([1])), vec![3, 70, 9, 9], Some(70)),
        ("added columns with parameters along rows", Box::new(LayerNorm::over_axes([1])), vec![3, 70, 9, 9], Some(70)),
        ("such columns beyond a cache", Box::new(LayerNorm::over_axes([1])), vec![2, 300, 41, 30], Some(300)),
        ("rows before GELU", activated(LayerNorm::new([100]), Activation::Gelu), vec![37, 100], Some(100)),
        ("runs before SiLU", activated(GroupNorm::new(3), Activation::Silu), vec![5, 6, 10, 13], Some(6)),
        ("columns before GELU by tanh", activated(nhwc(), Activation::GeluTanh), vec![3, 9, 5, 110], Some(110)),
        ("given statistics before ReLU", activated(evaluated, Activation::Relu), vec![7, 70, 25, 25], Some(70)),
    ];
    ways.extend(others);
    ways
}

fn noise(seed: u64, len: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f64::from(u32::try_from(state >> 32).expect("32 bits")) / f64::from(u32::MAX) - 0.5
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// A plan with tensors for it.
struct Case {
    plan: Plan,
    input: Data,
    grad_output: Data,
    /// What reaches the sum of input and residual by other ways, where there is a residual.
    grad_sum: Option<Data>,
    parameters: Option<[Data; 2]>,
    channels: usize,
}

impl Case {
    fn new((name, norm, shape, parameters): &Way, dtype: Dtype) -> Self {
        let mut operands = Operands::new(Spec::new(shape.clone(), dtype));
        if let Some(len) = *parameters {
            operands = operands.weight(Spec::new([len], Dtype::F32)).bias(Spec::new([len], Dtype::F32));
        }
        let channels = parameters.unwrap_or(1);
        if name.starts_with("given") {
            operands = operands.running(channels, true);
        }
        let elements = shape.iter().product();
        let is_added = name.starts_with("added");
        if is_added {
            operands = operands.residual(Spec::new(shape.clone(), dtype));
        }
        Self {
            plan: norm.lower(&operands).expect("fits"),
            input: Data::from_f64(dtype, &noise(1, elements)),
            grad_output: Data::from_f64(dtype, &noise(2, elements)),
            grad_sum: is_added.then(|| Data::from_f64(dtype, &noise(5, elements))),
            parameters: parameters.map(|len| [3, 4].map(|seed| Data::from_f64(Dtype::F32, &noise(seed, len)))),
            channels,
        }
    }

    fn gradients(&self, engine: &Engine, statistics: &Statistics, gradients: &mut Gradients) {
        let [weight, bias] = self.parameters.as_ref().map_or([None, None], |both| both.each_ref().map(Some));
        let arguments = GradientArguments {
            input: &self.input,
            grad_output: &self.grad_output,
            grad_sum: self.grad_sum.as_ref(),
            statistics,
            weight,
            bias,
            extra: Default::default(),
            labels: None,
            grad_mean: None,
            grad_std: None,
        };
        let done = pollster::block_on(engine.execute_backward_into(&self.plan, &arguments, gradients));
        done.expect("the arguments fit");
    }

    fn statistics(&self, engine: &Engine) -> Statistics {
        let [weight, bias] = self.parameters.as_ref().map_or([None, None], |both| both.each_ref().map(Some));
        let mut running = RunningStatistics::new(self.channels);
        let mut statistics = Statistics::default();
        let mut output = self.input.clone();
        let tracks = matches!(self.plan.source(), wgpu_norm::plan::Source::Running { .. });
        let nothing = self.grad_sum.as_ref().map(|sum| Data::zeros(sum.dtype(), sum.len()));
        let mut sum = nothing.clone();
        let mut arguments = Arguments {
            residual: nothing.as_ref(),
            sum: sum.as_mut(),
            weight,
            bias,
            running: tracks.then_some(&mut running),
            statistics: Some(&mut statistics),
            ..Arguments::default()
        };
        let done = pollster::block_on(engine.execute(&self.plan, Some(&self.input), &mut arguments, &mut output));
        done.expect("the arguments fit");
        statistics
    }
}

/// The largest error over the largest value.
fn error(got: &Data, want: &Data) -> f64 {
    let (got, want) = (got.to_f64(), want.to_f64());
    assert_eq!(got.len(), want.len(), "as many gradients");
    let largest = want.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    let worst = got
        .iter()
        .zip(&want)
        .map(|(got, want)| (got - want).abs())
        .fold(0.0, |most: f64, e| if e.is_nan() { f64::INFINITY } else { most.max(e) });
    worst / largest
}

#[test]
fn every_way_through_memory_gives_the_gradients_of_the_reference() {
    let open = |choice| pollster::block_on(Engine::open(&choice)).expect("it is always there");
    let (cpu, reference) = (open(Choice::Cpu), open(Choice::Reference));
    for way in ways() {
        // What f32 adds up; one unit of a short type, to which both are rounded.
        for (dtype, bound) in [(Dtype::F32, 4e-6), (Dtype::F16, 9.8e-4), (Dtype::Bf16, 7.9e-3)] {
            let case = Case::new(&way, dtype);
            let statistics = case.statistics(&reference);
            let all = Wanted::all(&case.plan);
            let wishes = [
                all,
                Wanted { input: false, ..all },
                Wanted { bias: false, ..all },
                Wanted { weight: false, bias: false, ..all },
            ];
            for wanted in wishes {
                let mut want = Gradients::zeros(&case.plan, wanted);
                case.gradients(&reference, &statistics, &mut want);
                // What was there before plays no part.
                let mut got = want.clone();
                for data in [&mut got.input, &mut got.weight, &mut got.bias].into_iter().flatten() {
                    *data = Data::from_f64(data.dtype(), &vec![7.0; data.len()]);
                }
                case.gradients(&cpu, &statistics, &mut got);
                for (name, got, want) in [
                    ("input", &got.input, &want.input),
                    ("weight", &got.weight, &want.weight),
                    ("bias", &got.bias, &want.bias),
                ] {
                    let (Some(got), Some(want)) = (got, want) else { continue };
                    let error = error(got, want);
                    assert!(error <= bound, "{} {dtype} of {name}, {wanted:?}: {error:e}, {bound:e} allowed", way.0);
                }
            }
        }
    }
}

/// Sums of huge gradients leave the range of f32 where their weights bring them back into it.
#[test]
fn small_weights_keep_huge_gradients_in_range() {
    let open = |choice| pollster::block_on(Engine::open(&choice)).expect("it is always there");
    let (cpu, reference) = (open(Choice::Cpu), open(Choice::Reference));
    let ways: [Way; 2] = [
        ("runs", Box::new(BatchNorm::new()), vec![9, 3, 15, 15], Some(3)),
        ("columns", Box::new(BatchNorm::new()), vec![150, 70], Some(70)),
    ];
    for way in ways {
        let mut case = Case::new(&way, Dtype::F32);
        let scaled = |data: &Data, by: f64| {
            Data::from_f64(Dtype::F32, &data.to_f64().iter().map(|value| (value.abs() + 0.1) * by).collect::<Vec<_>>())
        };
        case.grad_output = scaled(&case.grad_output, 3e37);
        case.parameters = case.parameters.as_ref().map(|[weight, bias]| [scaled(weight, 1e-30), bias.clone()]);
        let statistics = case.statistics(&reference);
        let of_input = Wanted { weight: false, bias: false, ..Wanted::all(&case.plan) };
        let mut want = Gradients::zeros(&case.plan, of_input);
        case.gradients(&reference, &statistics, &mut want);
        let mut got = Gradients::zeros(&case.plan, of_input);
        case.gradients(&cpu, &statistics, &mut got);
        let error = error(got.input.as_ref().expect("wanted"), want.input.as_ref().expect("wanted"));
        assert!(error <= 1e-4, "{}: {error:e}", way.0);
    }
}

#[test]
fn gradients_that_do_not_fit_are_refused() {
    let engine = pollster::block_on(Engine::open(&Choice::Cpu)).expect("the CPU is there");
    let way: Way = ("", Box::new(LayerNorm::new([8])), vec![4, 8], Some(8));
    let case = Case::new(&way, Dtype::F32);
    let statistics = case.statistics(&engine);
    let good = Gradients::zeros(&case.plan, Wanted::all(&case.plan));
    for (wrong, says) in [
        (Gradients { input: Some(Data::from_f64(Dtype::F32, &[0.0; 31])), ..good.clone() }, "grad_input"),
        (Gradients { input: Some(Data::from_f64(Dtype::F16, &[0.0; 32])), ..good.clone() }, "grad_input"),
        (Gradients { weight: Some(Data::from_f64(Dtype::F32, &[0.0; 9])), ..good.clone() }, "grad_weight"),
        (Gradients { bias: Some(Data::from_f64(Dtype::Bf16, &[0.0; 8])), ..good.clone() }, "grad_bias"),
    ] {
        let [weight, bias] = case.parameters.as_ref().expect("both are there");
        let arguments = GradientArguments {
            input: &case.input,
            grad_output: &case.grad_output,
            grad_sum: None,
            statistics: &statistics,
            weight: Some(weight),
            bias: Some(bias),
            extra: Default::default(),
            labels: None,
            grad_mean: None,
            grad_std: None,
        };
        let mut gradients = wrong;
        let refused = pollster::block_on(engine.execute_backward_into(&case.plan, &arguments, &mut gradients));
        let message = refused.expect_err("it does not fit").to_string();
        assert!(message.contains(says), "{message:?} does not say {says}");
    }
}

#[test]
fn gradients_whose_sum_f32_cannot_hold_spoil_no_other_sum() {
    let cpu = pollster::block_on(Engine::open(&Choice::Cpu)).expect("it is always there");
    let way: Way = ("given statistics", Box::new(BatchNorm::new().training(false)), vec![6, 40], Some(40));
    let mut case = Case::new(&way, Dtype::F32);
    // The running means themselves, so that every normalized value is 0.
    case.input = Data::zeros(Dtype::F32, 6 * 40);
    case.grad_output = Data::from_f64(Dtype::F32, &[3e38; 6 * 40]);
    let statistics = case.statistics(&cpu);
    let mut got = Gradients::zeros(&case.plan, Wanted::all(&case.plan));
    case.gradients(&cpu, &statistics, &mut got);
    let sum = |data: &Option<Data>| data.as_ref().expect("it is wanted").to_f64();
    assert_eq!(sum(&got.weight), [0.0; 40], "of the weight");
    assert_eq!(sum(&got.bias), [f64::INFINITY; 40], "of the bias");
}

/// By given statistics the gradient is `grad_output * weight * rstd`, whatever the input is.
#[test]
fn by_given_statistics_no_input_spoils_its_gradient() {
    let cpu = pollster::block_on(Engine::open(&Choice::Cpu)).expect("it is always there");
    let batch = || BatchNorm::new().training(false).eps(0.0);
    let shared = Tensor::from_f32([3], vec![2.0, 3.0, 4.0]).expect("it fits");
    let of_classes = Tensor::from_f32([2, 3], vec![1.0, 2.0, 3.0, 10.0, 20.0, 30.0]).expect("it fits");
    let input = [0.5, 1.0, 1.5, f32::NAN, 2.0, f32::INFINITY, f32::NEG_INFINITY, 0.0, -1.0, 1.0, 1.0, 1.0];
    let input = Tensor::from_f32([4, 3], input.to_vec()).expect("it fits");
    let grad_output = Tensor::from_f32([4, 3], vec![1.0; 12]).expect("it fits");
    let (first, second) = ([1.0, 2.0, 3.0], [10.0, 20.0, 30.0]);
    let by_label: Vec<f32> = [first, second, second, first].concat();
    let times_shared = by_label.iter().zip([2.0, 3.0, 4.0].iter().cycle()).map(|(class, weight)| class * weight);
    let ways: [(_, Box<dyn Norm>, _, _, Vec<f32>); 2] = [
        ("conditional", Box::new(ConditionalBatchNorm::new(batch())), &of_classes, None, by_label.clone()),
        ("sandwich", Box::new(SandwichBatchNorm::new(batch())), &shared, Some(&of_classes), times_shared.collect()),
    ];
    for (name, norm, weight, class_weight, want) in ways {
        let mut running = RunningStatistics::new(3);
        let mut parameters = Parameters {
            weight: Some(weight),
            running: Some(&mut running),
            labels: Some(&[0, 1, 1, 0]),
            extra: Extra { class_weight, ..Extra::default() },
            ..Parameters::default()
        };
        let forward = cpu.forward_saving(&*norm, &input, &mut parameters).expect("the arguments fit");
        let wanted = Wanted { input: true, weight: false, bias: false, extra: false };
        let gradients = cpu.backward(&*norm, &input, &grad_output, &forward.statistics, &parameters, wanted);
        let of_input = gradients.expect("the arguments fit").input.expect("it is wanted");
        assert_eq!(of_input.data().to_f32(), want, "{name}");
    }
}

#[test]
fn a_sample_has_the_same_gradient_alone_and_among_others() {
    let cpu = pollster::block_on(Engine::open(&Choice::Cpu)).expect("it is always there");
    // Of one sample a cache holds all; of three it does not.
    let gradient = |samples: usize| {
        let norm = Box::new(BatchNorm::new().training(false));
        let way: Way = ("given statistics", norm, vec![samples, 2048, 7, 7], Some(2048));
        let case = Case::new(&way, Dtype::F32);
        let statistics = case.statistics(&cpu);
        let mut gradients = Gradients::zeros(&case.plan, Wanted::all(&case.plan));
        case.gradients(&cpu, &statistics, &mut gradients);
        gradients.input.expect("it is wanted").to_f32()
    };
    let (alone, among) = (gradient(1), gradient(3));
    assert!(alone.iter().zip(&among).all(|(alone, among)| alone.to_bits() == among.to_bits()));
}

/// The gradient of the input of LayerNorm over rows of `d`, whose parameters have gradients too.
fn gradient_of_rows(rows: usize, d: usize) -> Vec<f32> {
    let cpu = pollster::block_on(Engine::open(&Choice::Cpu)).expect("it is always there");
    let way: Way = ("rows", Box::new(LayerNorm::new([d])), vec![rows, d], Some(d));
    let case = Case::new(&way, Dtype::F32);
    let statistics = case.statistics(&cpu);
    let mut gradients = Gradients::zeros(&case.plan, Wanted::all(&case.plan));
    case.gradients(&cpu, &statistics, &mut gradients);
    gradients.input.expect("it is wanted").to_f32()
}

fn assert_same_row(few: usize, many: usize, d: usize) {
    let (few, many) = (gradient_of_rows(few, d), gradient_of_rows(many, d));
    for (i, (few, many)) in few.iter().zip(&many).enumerate() {
        assert_eq!(few.to_bits(), many.to_bits(), "element {i} of rows of {d}");
    }
}

#[test]
fn a_short_row_has_the_same_gradient_alone_and_among_others() {
    for d in SHORT {
        assert_same_row(1, 19, d);
    }
}

/// A row of parameters for each sample is one row of a single sample.
#[test]
fn a_short_row_with_parameters_of_its_own_has_the_same_gradient_alone_and_among_others() {
    let cpu = pollster::block_on(Engine::open(&Choice::Cpu)).expect("it is always there");
    for d in SHORT {
        let norms: [(Box<dyn Norm>, bool); 3] = [
            (Box::new(LayerNorm::new([d])), true),
            (Box::new(GroupNorm::new(1)), true),
            (Box::new(GroupNorm::new(1)), false),
        ];
        for (norm, per_sample) in norms {
            let gradient = |samples: usize| {
                let tensor = |seed, shape: &[usize]| {
                    let values = noise(seed, shape.iter().product());
                    Tensor::new(shape, Data::from_f64(Dtype::F32, &values)).expect("it fits")
                };
                let parameters_shape = if per_sample { vec![samples, d] } else { vec![d] };
                let (x, dy) = (tensor(1, &[samples, d]), tensor(2, &[samples, d]));
                let (weight, bias) = (tensor(3, &parameters_shape), tensor(4, &parameters_shape));
                let mut parameters = Parameters { weight: Some(&weight), bias: Some(&bias), ..Parameters::default() };
                let forward = cpu.forward_saving(&*norm, &x, &mut parameters).expect("it fits");
                let gradients = cpu.backward(&*norm, &x, &dy, &forward.statistics, &parameters, None).expect("fits");
                gradients.input.expect("it is wanted").data().to_f32()
            };
            let (alone, among) = (gradient(1), gradient(3));
            let same = alone.iter().zip(&among).all(|(alone, among)| alone.to_bits() == among.to_bits());
            assert!(same, "rows of {d}, parameters of its own: {per_sample}");
        }
    }
}

/// Up to 64 long rows are taken by spans; some at a time, or, where these are few, all together.
#[test]
fn a_long_row_has_the_same_gradient_among_few_and_among_many() {
    for d in [32_768, 40_001, 262_148] {
        assert_same_row(2, 65, d);
    }
    assert_same_row(3, 64, 40_001);
}

/// The square of what divides by a row's tiny deviation leaves the range of f32.
#[test]
fn a_short_row_that_does_not_fold_is_right_and_leaves_its_neighbours_bits() {
    let open = |choice| pollster::block_on(Engine::open(&choice)).expect("it is always there");
    let (cpu, reference) = (open(Choice::Cpu), open(Choice::Reference));
    for d in [5, 16, 100] {
        let gradients = |engine: &Engine, size: f64| {
            let way: Way = ("short rows", Box::new(LayerNorm::new([d]).eps(0.0)), vec![25, d], Some(d));
            let mut case = Case::new(&way, Dtype::F32);
            let values: Vec<f64> = case.input.to_f64();
            let scaled = |(i, x): (usize, &f64)| if i / d == 2 { x * size } else { *x };
            case.input = Data::from_f64(Dtype::F32, &values.iter().enumerate().map(scaled).collect::<Vec<_>>());
            let statistics = case.statistics(&reference);
            let mut gradients = Gradients::zeros(&case.plan, Wanted::all(&case.plan));
            case.gradients(engine, &statistics, &mut gradients);
            gradients.input.expect("it is wanted")
        };
        let (folded, stepwise) = (gradients(&cpu, 1.0).to_f32(), gradients(&cpu, 1e-25));
        for (i, (folded, stepwise)) in folded.iter().zip(&stepwise.to_f32()).enumerate().filter(|(i, _)| i / d != 2) {
            assert_eq!(folded.to_bits(), stepwise.to_bits(), "element {i} of rows of {d}");
        }
        let row = |data: &Data| Data::from_f64(Dtype::F32, &data.to_f64()[2 * d..3 * d]);
        let error = error(&row(&stepwise), &row(&gradients(&reference, 1e-25)));
        assert!(error <= 4e-6, "rows of {d}: {error:e}");
    }
}

#[test]
fn a_channel_that_does_not_fold_leaves_its_neighbours_bits() {
    let cpu = pollster::block_on(Engine::open(&Choice::Cpu)).expect("it is always there");
    let gradient = |of_one: f32| {
        let way: Way = ("columns", Box::new(BatchNorm::new()), vec![150, 70], Some(70));
        let mut case = Case::new(&way, Dtype::F32);
        let [weight, _] = case.parameters.as_mut().expect("there are some");
        let mut values = weight.to_f32();
        values[5] = of_one;
        *weight = Data::F32(values);
        let statistics = case.statistics(&cpu);
        let mut gradients = Gradients::zeros(&case.plan, Wanted::all(&case.plan));
        case.gradients(&cpu, &statistics, &mut gradients);
        gradients.input.expect("it is wanted").to_f32()
    };
    let (folded, stepwise) = (gradient(1.0), gradient(1e-40));
    for (i, (folded, stepwise)) in folded.iter().zip(&stepwise).enumerate().filter(|(i, _)| i % 70 != 5) {
        assert_eq!(folded.to_bits(), stepwise.to_bits(), "element {i}");
    }
}

#[test]
fn gradients_whose_sum_f32_cannot_hold_spoil_no_sum_about_a_mean_that_f32_has_not() {
    let cpu = pollster::block_on(Engine::open(&Choice::Cpu)).expect("it is always there");
    let way: Way = ("columns", Box::new(BatchNorm::new()), vec![7, 40], Some(40));
    let mut case = Case::new(&way, Dtype::F32);
    let alternating: Vec<f64> = (0..7 * 40).map(|i| if i / 40 % 2 == 0 { 1.1 } else { -0.9 }).collect();
    case.input = Data::from_f64(Dtype::F32, &alternating);
    case.grad_output = Data::from_f64(Dtype::F32, &[1e38; 7 * 40]);
    let statistics = case.statistics(&cpu);
    assert!(
        !Data::from_f64(Dtype::F32, &statistics.mean).to_f64().contains(&statistics.mean[0]),
        "the mean has a tail"
    );
    let mut got = Gradients::zeros(&case.plan, Wanted { input: false, ..Wanted::all(&case.plan) });
    case.gradients(&cpu, &statistics, &mut got);
    let weight = got.weight.expect("it is wanted").to_f64();
    assert!(weight.iter().all(|sum| sum.abs() < 7e38 * 1e-6), "{weight:?}");
}
