//! Normalizations drawn from bytes: any shape, axes, options and operands, sensible and not.

use wgpu_norm::gpu::{self, Capabilities, Strategy};
use wgpu_norm::norm::{
    BatchGroupNorm, BatchNorm, ConditionalBatchNorm, FilterResponseNorm, Fused, GroupNorm, InstanceNorm, LayerNorm,
    MomentShortcut, Norm, PositionalNorm, RmsNorm, SandwichBatchNorm, SwitchableNorm, SyncBatchNorm,
};
use wgpu_norm::plan::{Activation, Extra, Momentum, Plan, RunningVariance};
use wgpu_norm::{
    Choice, Data, Dtype, Engine, Layout, Parameters, RunningStatistics, Spec, Tensor, Upstream, Wanted, reference,
};

/// Elements of a tensor that is computed, rather than planned only.
const MOST_ELEMENTS: usize = 1 << 12;

/// The choices that bytes make; zeros where they end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    fn flag(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Mostly short, at times where kernels change their ways, at times beyond all bounds.
    fn axis(&mut self) -> usize {
        match self.byte() {
            short @ 0..=199 => usize::from(short % 18),
            200..=239 => self.pick(&[31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000, 1023, 1024, 1025]),
            240..=254 => (1usize << self.below(64)).wrapping_sub(usize::from(self.flag())),
            255 => usize::MAX,
        }
    }

    fn shape(&mut self, most: usize) -> Vec<usize> {
        (0..self.below(most + 1)).map(|_| self.axis()).collect()
    }

    fn number(&mut self) -> f64 {
        self.pick(&[1e-5, 1e-5, 1e-3, 0.0, 0.1, 1.0, -1.0, 1e-45, 1e38, 1e300, f64::NAN, f64::INFINITY, f64::MIN])
    }

    fn layout(&mut self) -> Layout {
        self.pick(&[Layout::ChannelsFirst, Layout::ChannelsLast])
    }

    fn batch(&mut self) -> BatchNorm {
        BatchNorm {
            training: self.flag(),
            momentum: if self.flag() { Momentum::Cumulative } else { Momentum::Fixed(self.number()) },
            running_variance: self.pick(&[RunningVariance::Unbiased, RunningVariance::Biased]),
            eps: self.number(),
            layout: self.layout(),
        }
    }

    fn norm(&mut self, shape: &[usize]) -> Box<dyn Norm> {
        match self.below(14) {
            0 => Box::new(LayerNorm::new(self.last(shape)).eps(self.number())),
            1 => Box::new(LayerNorm::over_axes(self.axes()).eps(self.number())),
            2 => Box::new(RmsNorm::new(self.last(shape))),
            3 => Box::new(RmsNorm::over_axes(self.axes()).eps(self.number())),
            4 => Box::new(GroupNorm { num_groups: self.axis(), eps: self.number(), layout: self.layout() }),
            5 => Box::new(InstanceNorm {
                use_input_stats: self.flag(),
                momentum: self.number(),
                running_variance: self.pick(&[RunningVariance::Unbiased, RunningVariance::Biased]),
                eps: self.number(),
                batched: self.flag(),
                layout: self.layout(),
            }),
            6 => Box::new(self.batch()),
            7 => Box::new(BatchGroupNorm { num_groups: self.axis(), batch: self.batch() }),
            8 => Box::new(ConditionalBatchNorm::new(self.batch())),
            9 => Box::new(SandwichBatchNorm::new(self.batch())),
            10 => Box::new(SwitchableNorm {
                training: self.flag(),
                momentum: self.number(),
                eps: self.number(),
                layout: self.layout(),
            }),
            11 => Box::new(PositionalNorm { eps: self.number(), layout: self.layout() }),
            12 => Box::new(match self.layout() {
                Layout::ChannelsFirst => Box::new(MomentShortcut::new()) as Box<dyn Norm>,
                layout => Box::new(FilterResponseNorm { eps: self.number(), layout }),
            }),
            _ => Box::new(SyncBatchNorm { batch: self.batch() }),
        }
    }

    /// The last axes of a shape, or others.
    fn last(&mut self, shape: &[usize]) -> Vec<usize> {
        if self.below(8) == 0 { self.shape(3) } else { shape[self.below(shape.len() + 1)..].to_vec() }
    }

    fn axes(&mut self) -> Vec<isize> {
        (0..self.below(4)).map(|_| self.pick(&[0, 1, 2, 3, -1, -2, isize::MIN, isize::MAX])).collect()
    }

    /// A shape that a parameter may well have, or another.
    fn parameter(&mut self, shape: &[usize]) -> Vec<usize> {
        let (first, last) = (shape.first().copied().unwrap_or(1), shape.last().copied().unwrap_or(1));
        let channels = shape.get(1).copied().unwrap_or(first);
        match self.below(12) {
            0 | 1 => vec![channels],
            2 | 3 => vec![last],
            4 => vec![first, channels],
            5 => vec![first, last],
            6 => shape.get(1..).unwrap_or_default().to_vec(),
            7 => vec![1 + self.below(5), channels],
            8 => vec![1 + self.below(5), last],
            9 => vec![self.pick(&[1, 3])],
            10 => shape.iter().enumerate().map(|(i, &axis)| if i == 1 { 1 } else { axis }).collect(),
            _ => self.shape(3),
        }
    }

    fn some(&mut self, shape: &[usize], dtype: Dtype) -> Option<Spec> {
        if self.flag() { Some(Spec::new(self.parameter(shape), dtype)) } else { None }
    }
}

/// Everything that a call takes, without values.
struct Call {
    norm: Box<dyn Norm>,
    operands: wgpu_norm::norm::Operands,
}

impl Call {
    fn draw(bytes: &mut Bytes<'_>) -> Self {
        let shape = bytes.shape(5);
        let dtype = bytes.pick(&Dtype::ALL);
        let norm = bytes.norm(&shape);
        let norm: Box<dyn Norm> = if bytes.flag() {
            let activation = bytes.pick(&[None, Some(Activation::Relu), Some(Activation::Silu)]);
            let fused = Fused::new(norm).activation(activation);
            Box::new(fused.zero_centred_weight(bytes.flag()).rounds_normalized(bytes.flag()))
        } else {
            norm
        };
        let stored = if bytes.below(4) == 0 { bytes.pick(&Dtype::ALL) } else { Dtype::F32 };
        let mut operands = wgpu_norm::norm::Operands::new(Spec::new(shape.clone(), dtype));
        operands.weight = bytes.some(&shape, stored);
        operands.bias = match (&operands.weight, bytes.below(4)) {
            (Some(weight), 1 | 2) => Some(weight.clone()),
            _ => bytes.some(&shape, stored),
        };
        if bytes.flag() {
            let channels = bytes.parameter(&shape).last().copied().unwrap_or(1);
            operands = operands.running(channels, bytes.flag());
        }
        if bytes.below(4) == 1 {
            let other = bytes.below(8) == 1;
            operands.residual = Some(Spec::new(if other { bytes.shape(5) } else { shape.clone() }, dtype));
        }
        if bytes.below(3) == 1 {
            operands.extra = Extra::<Option<Spec>>::default().map(|_| bytes.some(&shape, stored));
        } else if bytes.below(2) == 1 {
            let three = Some(Spec::new([3], stored));
            operands.extra = Extra { mean_weight: three.clone(), var_weight: three, ..Extra::default() };
        }
        if bytes.flag() {
            operands.labels =
                Some(if bytes.below(8) == 1 { bytes.axis() } else { shape.first().copied().unwrap_or(0) });
        }
        Self { norm, operands }
    }
}

/// A call, planned; where it is small, executed on the CPU, forward and backward, and held against the reference.
pub(crate) fn plan(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let call = Call::draw(&mut bytes);
    let Ok(plan) = call.norm.lower(&call.operands) else { return };
    let elements = plan.view().elements();
    let shape = &call.operands.input.shape;
    let product = if shape.contains(&0) { 0 } else { shape.iter().product() };
    assert_eq!(elements, product, "{plan:?}");
    assert_eq!(plan.tensor_bytes(), (product * plan.dtype().size()) as u64, "{plan:?}");
    let _ = (plan.divisor(), plan.kept_statistics(), plan.parameter_len(), plan.extra_len(), plan.running_update());
    check_places(&plan);
    check_strategies(&plan, &mut bytes);
    if elements <= MOST_ELEMENTS && parameters_are_small(&call) {
        check_execution(&call, &plan, &mut bytes);
    }
}

/// Every corner of the tensor has a parameter within what there are, and every corner of the cells a statistic.
fn check_places(plan: &Plan) {
    let (view, map, cells) = (plan.view(), plan.affine().map, plan.affine().cells);
    if view.elements() == 0 {
        return;
    }
    let corners = |len: usize| [0, len / 2, len - 1];
    let all = |view: wgpu_norm::plan::View| {
        let c_d = move |a, b| corners(view.c).into_iter().flat_map(move |c| corners(view.d).map(|d| [a, b, c, d]));
        corners(view.a).into_iter().flat_map(move |a| corners(view.b).into_iter().flat_map(move |b| c_d(a, b)))
    };
    for [a, b, c, d] in all(view) {
        assert!(map.index(a, b, c, d) < map.len.max(1), "parameter of {a}, {b}, {c}, {d}: {plan:?}");
    }
    if plan.has_weight() || plan.has_bias() {
        assert_eq!(cells.view.elements(), view.elements(), "{plan:?}");
        let statistics = cells.statistics();
        for [a, b, c, d] in all(cells.view) {
            assert!(statistics.index(a, b, c, d) < view.statistics(), "statistic of {a}, {b}, {c}, {d}: {plan:?}");
        }
    }
}

/// Some strategy serves the plan on any device.
fn check_strategies(plan: &Plan, bytes: &mut Bytes<'_>) {
    let device = Capabilities {
        emulated: bytes.flag(),
        subgroups: bytes.pick(&[None, Some((4, 4)), Some((8, 8)), Some((32, 32)), Some((4, 128))]),
        native_f16: bytes.flag(),
        max_binding: bytes.pick(&[1 << 27, 1 << 30, u64::MAX]),
        max_workgroups: 65535,
        max_invocations: bytes.pick(&[128, 256, 1024]),
        storage_alignment: bytes.pick(&[32, 256]),
        uniform_alignment: 256,
    };
    if plan.view().elements() == 0 {
        return;
    }
    let strategy = gpu::choose(plan, &device);
    assert!(strategy.supports(plan, &device).is_ok(), "{} was chosen for {plan:?}", Strategy::name(strategy));
    let wanted = Wanted { input: true, weight: plan.has_weight(), bias: plan.has_bias(), extra: false };
    let _ = gpu::choose_backward(plan, wanted, &device);
    assert!(gpu::kernels::packs(plan.view()) > 0, "{plan:?}");
}

fn parameters_are_small(call: &Call) -> bool {
    let operands = &call.operands;
    let extra = operands.extra.as_ref().into_array();
    let all = [operands.weight.as_ref(), operands.bias.as_ref()].into_iter().chain(extra.map(Option::as_ref));
    let small = |shape: &[usize]| {
        shape.contains(&0)
            || shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis)).is_some_and(|n| n <= MOST_ELEMENTS)
    };
    all.flatten().all(|spec| small(&spec.shape))
        && operands.running.is_none_or(|running| running.mean <= MOST_ELEMENTS)
        && operands.labels.is_none_or(|labels| labels <= MOST_ELEMENTS)
}

/// Values between -2 and 2 that no two places share.
fn values(spec: &Spec, salt: u64) -> Tensor {
    let len = if spec.shape.contains(&0) { 0 } else { spec.shape.iter().product() };
    #[expect(clippy::cast_precision_loss, reason = "24 bits are left")]
    let value = |i: u64| ((i + 1 + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / (1u64 << 22) as f64 - 2.0;
    let values: Vec<f64> = (0..len as u64).map(value).collect();
    Tensor::new(spec.shape.clone(), Data::from_f64(spec.dtype, &values)).expect("as long as its shape says")
}

/// What a call takes beside its input.
struct Tensors {
    weight: Option<Tensor>,
    bias: Option<Tensor>,
    residual: Option<Tensor>,
    extra: Extra<Option<Tensor>>,
    labels: Option<Vec<i64>>,
}

impl Tensors {
    fn with<'a>(&'a self, running: Option<&'a mut RunningStatistics>) -> Parameters<'a> {
        Parameters {
            weight: self.weight.as_ref(),
            bias: self.bias.as_ref(),
            running,
            residual: self.residual.as_ref(),
            extra: self.extra.as_ref().map(Option::as_ref),
            labels: self.labels.as_deref(),
            ..Parameters::default()
        }
    }
}

fn check_execution(call: &Call, plan: &Plan, bytes: &mut Bytes<'_>) {
    let operands = &call.operands;
    let some = |spec: &Option<Spec>, salt| spec.as_ref().map(|spec| values(spec, salt));
    let input = values(&operands.input, 0);
    let (weight, bias) = (some(&operands.weight, 1 << 20), some(&operands.bias, 2 << 20));
    let residual = some(&operands.residual, 3 << 20);
    let extra = operands.extra.as_ref().map(|spec| some(spec, 4 << 20));
    let labels: Option<Vec<i64>> = operands.labels.map(|n| (0..n).map(|_| i64::from(bytes.byte() % 6) - 1).collect());
    let running = operands.running.map(|r| RunningStatistics {
        mean: vec![0.5; r.mean],
        var: vec![1.5; r.var],
        num_batches_tracked: r.counter.then_some(u64::from(bytes.byte())),
    });
    let tensors = Tensors { weight, bias, residual, extra, labels };
    let engine = pollster::block_on(Engine::open(&Choice::Cpu)).expect("the CPU is always there");
    let mut own = running.clone();
    let Ok(forward) = engine.forward_saving(&*call.norm, &input, &mut tensors.with(own.as_mut())) else { return };
    let mut in_place = input.clone();
    let mut own = running.clone();
    let result = engine.forward_in_place(&*call.norm, &mut in_place, &mut tensors.with(own.as_mut()));
    result.expect("in place as well as apart");
    assert!(in_place.data().bytes() == forward.output.data().bytes(), "in place: {plan:?}");

    check_pieces(call, plan, (&input, &tensors, running.clone()), &forward.output, 1 + 16 * bytes.below(64));

    let wide = |tensor: &Option<Tensor>| tensor.as_ref().map(|tensor| tensor.data().to_f64());
    let estimates = |of: fn(&RunningStatistics) -> &Vec<f32>| {
        running.as_ref().map(|r| of(r).iter().map(|&x| f64::from(x)).collect()).unwrap_or_default()
    };
    let mut values = reference::Values {
        input: input.data().to_f64(),
        weight: wide(&tensors.weight),
        bias: wide(&tensors.bias),
        running_mean: estimates(|r| &r.mean),
        running_var: estimates(|r| &r.var),
        num_batches_tracked: running.as_ref().and_then(|r| r.num_batches_tracked).unwrap_or(0),
        residual: wide(&tensors.residual),
        extra: tensors.extra.as_ref().map(wide),
        labels: tensors.labels.clone().unwrap_or_default(),
    };
    let want = reference::execute(plan, &mut values).expect("what the CPU takes, the reference takes");
    // Between sensible numbers alone an error has a size; elsewhere it is enough that nothing breaks.
    if (1e-6..1e6).contains(&plan.eps()) {
        assert_close(plan, &forward.output.data().to_f64(), &want);
    }

    let upstream = Upstream { output: &input, sum: None, mean: None, std: None };
    let wanted = Wanted { input: true, weight: bytes.flag(), bias: bytes.flag(), extra: bytes.flag() };
    let normalized = forward.sum.as_ref().unwrap_or(&input);
    let mut own = running.clone();
    let parameters = tensors.with(own.as_mut());
    let gradients = engine.backward(&*call.norm, normalized, upstream, &forward.statistics, &parameters, wanted);
    if let Ok(Some(of_input)) = gradients.map(|gradients| gradients.input) {
        assert_eq!(of_input.spec(), input.spec(), "{plan:?}");
    }
}

/// The same in pieces: to the bit, where they have groups of their own.
fn check_pieces(
    call: &Call,
    plan: &Plan,
    (input, tensors, mut running): (&Tensor, &Tensors, Option<RunningStatistics>),
    whole: &Tensor,
    piece_bytes: usize,
) {
    let engine = pollster::block_on(Engine::open(&Choice::Cpu)).expect("the CPU is always there");
    let streamed = engine.streamed(&*call.norm, &input.spec(), tensors.with(running.as_mut()), piece_bytes);
    let Some(mut streamed) = streamed.expect("in pieces as well as whole") else { return };
    let size = input.dtype().size();
    let values = |elements: std::ops::Range<usize>| {
        let mut values = Data::zeros(input.dtype(), elements.len());
        values.bytes_mut().copy_from_slice(&input.data().bytes()[elements.start * size..elements.end * size]);
        values
    };
    let shares = !streamed.to_measure().is_empty();
    for piece in streamed.to_measure() {
        streamed.measure(&piece, &values(piece.elements())).expect("it is measured");
    }
    let mut together = Vec::new();
    for piece in streamed.to_normalize() {
        let elements = piece.elements();
        assert!(elements.start == together.len() && !elements.is_empty(), "{elements:?}: {plan:?}");
        let mut got = values(elements.clone());
        streamed.normalize(&piece, &mut got).expect("it is normalized");
        let want = &whole.data().bytes()[elements.start * size..elements.end * size];
        let same = || got.bytes() == want || got.to_f64().iter().any(|x| x.is_nan());
        assert!(shares || same(), "{elements:?} in pieces of {piece_bytes}: {plan:?}");
        together.extend(got.to_f64());
    }
    assert_eq!(together.len(), input.data().len(), "{plan:?}");
    if (1e-6..1e6).contains(&plan.eps()) {
        assert_close(plan, &together, &whole.data().to_f64());
    }
}

fn assert_close(plan: &Plan, got: &[f64], want: &[f64]) {
    let largest = want.iter().filter(|x| x.is_finite()).fold(0f64, |most, x| most.max(x.abs()));
    let most = largest * (8.0 * plan.dtype().unit_roundoff() + 1e-4);
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let agree = got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() <= most;
        assert!(agree, "[{i}]: got {got:e}, expected {want:e}, {plan:?}");
    }
}
