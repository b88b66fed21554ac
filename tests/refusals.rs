//! Every refusal of `lower` and of host tensors is provoked, and names argument, value and expectation.

use wgpu_norm::collective::local;
use wgpu_norm::norm::{BatchNorm, GroupNorm, InstanceNorm, LayerNorm, Norm, Operands, RmsNorm, SyncBatchNorm};
use wgpu_norm::plan::{Arguments, Momentum};
use wgpu_norm::{Choice, Data, Dtype, Engine, Error, Layout, Parameters, RunningStatistics, Spec, Tensor};

fn spec(shape: &[usize]) -> Spec {
    Spec::new(shape, Dtype::F32)
}

fn on(shape: &[usize]) -> Operands {
    Operands::new(spec(shape))
}

/// Reports every row whose message lacks a part, or that is not refused at all.
fn assert_refused(rows: Vec<(&str, Result<wgpu_norm::plan::Plan, Error>, &[&str])>) {
    let faults: Vec<String> = rows
        .into_iter()
        .filter_map(|(name, result, parts)| match result {
            Ok(plan) => Some(format!("{name}: accepted as {plan:?}")),
            Err(error) => {
                let text = error.to_string();
                let missing: Vec<_> = parts.iter().filter(|part| !text.contains(**part)).collect();
                (!missing.is_empty()).then(|| format!("{name}: {text:?} does not say {missing:?}"))
            }
        })
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn shapes_and_axes_that_do_not_fit_are_refused() {
    let huge = usize::MAX;
    assert_refused(vec![
        ("normalized_shape", LayerNorm::new([5]).lower(&on(&[2, 4])), &["input", "[2, 4]", "[5]", "normalized_shape"]),
        ("longer than the input", RmsNorm::new([2, 3, 4]).lower(&on(&[3, 4])), &["input", "[3, 4]", "[2, 3, 4]"]),
        ("empty normalized_shape", LayerNorm::new([]).lower(&on(&[2, 4])), &["normalized_shape", "at least one"]),
        ("axis beyond the rank", LayerNorm::over_axes([2]).lower(&on(&[2, 4])), &["axes", "[2]", "which has 2"]),
        ("axis before the first", LayerNorm::over_axes([-3]).lower(&on(&[2, 4])), &["axes", "[-3]"]),
        ("the least axis", LayerNorm::over_axes([isize::MIN]).lower(&on(&[2, 4])), &["axes"]),
        ("an axis twice", LayerNorm::over_axes([1, -1]).lower(&on(&[2, 4])), &["axes", "[1, -1]", "different"]),
        ("no axes", RmsNorm::over_axes([]).lower(&on(&[2, 4])), &["axes", "at least one"]),
        ("five levels", LayerNorm::over_axes([1, 3]).lower(&on(&[2, 2, 2, 2, 2])), &["axes", "[2, 2, 2, 2, 2]"]),
        ("an overflow", LayerNorm::new([2]).lower(&on(&[huge, 2])), &["input", "overflows"]),
        ("bytes that overflow", LayerNorm::new([2]).lower(&on(&[huge / 4, 2])), &["input", "overflows"]),
        ("a scalar", LayerNorm::over_axes([0]).lower(&on(&[])), &["axes", "[0]"]),
        ("a scalar of groups", GroupNorm::new(1).lower(&on(&[])), &["input", "samples"]),
        ("groups without channels", GroupNorm::new(1).lower(&on(&[4])), &["input", "[4]", "channels"]),
        ("instances of rank 2", InstanceNorm::new().lower(&on(&[4, 5])), &["input", "[4, 5]", "positions"]),
        ("one instance of rank 1", InstanceNorm::new().batched(false).lower(&on(&[4])), &["input", "[4]", "positions"]),
        ("a batch of rank 1", BatchNorm::new().lower(&on(&[4])), &["input", "[4]", "N and C"]),
        ("one value a channel", BatchNorm::new().lower(&on(&[1, 4])), &["[1, 4]", "more than one value per channel"]),
        (
            "one value, untracked",
            BatchNorm::new().training(false).lower(&on(&[1, 4])),
            &["more than one value per channel"],
        ),
        ("one value, 4-D", BatchNorm::new().lower(&on(&[1, 4, 1, 1])), &["more than one value per channel"]),
        ("one position", InstanceNorm::new().lower(&on(&[2, 4, 1])), &["[2, 4, 1]", "more than one position"]),
        ("groups that do not divide", GroupNorm::new(5).lower(&on(&[2, 8, 3])), &["num_groups", "5", "8"]),
        ("no groups", GroupNorm::new(0).lower(&on(&[2, 8, 3])), &["num_groups", "0", "8"]),
    ]);
}

#[test]
fn parameters_that_do_not_fit_are_refused() {
    let last = Layout::ChannelsLast;
    let half = Spec::new([4], Dtype::F16);
    assert_refused(vec![
        ("weight", LayerNorm::new([4]).lower(&on(&[2, 4]).weight(spec(&[5]))), &["weight", "[4]", "[5]", "[2, 4]"]),
        ("bias", LayerNorm::new([4]).lower(&on(&[2, 4]).bias(spec(&[3, 4]))), &["bias", "[4]", "[2, 4]", "[3, 4]"]),
        (
            "weight of a group norm",
            GroupNorm::new(2).lower(&on(&[2, 8, 3]).weight(spec(&[2]))),
            &["weight", "[8]", "[2]"],
        ),
        (
            "weight, channels last",
            BatchNorm::new().layout(last).lower(&on(&[2, 3, 8]).weight(spec(&[3]))),
            &["weight", "[8]", "[3]"],
        ),
        (
            "two types",
            LayerNorm::new([4]).lower(&on(&[2, 4]).weight(spec(&[4])).bias(half)),
            &["bias", "f16", "f32", "weight"],
        ),
        (
            "running of a layer norm",
            LayerNorm::new([4]).lower(&on(&[2, 4]).running(4, true)),
            &["running_mean", "no running"],
        ),
        (
            "running of a group norm",
            GroupNorm::new(2).lower(&on(&[2, 4]).running(4, true)),
            &["running_mean", "no running"],
        ),
        (
            "running of another length",
            BatchNorm::new().lower(&on(&[2, 4]).running(5, true)),
            &["running_mean", "[4]", "[5]"],
        ),
        (
            "no running to use",
            InstanceNorm::new().use_input_stats(false).lower(&on(&[2, 4, 3])),
            &["running_mean", "missing", "use_input_stats"],
        ),
        (
            "no counter",
            BatchNorm::new().momentum(Momentum::Cumulative).lower(&on(&[2, 4]).running(4, false)),
            &["num_batches_tracked", "missing"],
        ),
        ("NaN eps", LayerNorm::new([4]).eps(f64::NAN).lower(&on(&[2, 4])), &["eps", "NaN"]),
        ("NaN eps of RMS", RmsNorm::new([4]).eps(f64::NAN).lower(&on(&[2, 4])), &["eps", "NaN"]),
        ("NaN eps of groups", GroupNorm::new(1).eps(f64::NAN).lower(&on(&[2, 4])), &["eps", "NaN"]),
        (
            "NaN momentum",
            BatchNorm::new().momentum(Momentum::Fixed(f64::NAN)).lower(&on(&[2, 4])),
            &["momentum", "NaN"],
        ),
        (
            "NaN momentum of instances",
            InstanceNorm::new().momentum(f64::NAN).lower(&on(&[2, 4, 3])),
            &["momentum", "NaN"],
        ),
    ]);
    let mut uneven = on(&[2, 4]).running(4, true);
    if let Some(running) = &mut uneven.running {
        running.var = 3;
    }
    assert_refused(vec![("running_var", BatchNorm::new().lower(&uneven), &["running_var", "[4]", "[3]"])]);
}

#[test]
fn what_pytorch_accepts_is_accepted() {
    let rows: Vec<(&str, Result<wgpu_norm::plan::Plan, Error>)> = vec![
        ("negative eps", LayerNorm::new([4]).eps(-1e-5).lower(&on(&[2, 4]))),
        ("eps of 0", GroupNorm::new(1).eps(0.0).lower(&on(&[2, 4]))),
        ("negative momentum", BatchNorm::new().momentum(Momentum::Fixed(-0.5)).lower(&on(&[2, 4]).running(4, true))),
        ("no rows", LayerNorm::new([4]).lower(&on(&[0, 4]))),
        ("rows of nothing", LayerNorm::new([0]).lower(&on(&[3, 0]))),
        ("no samples", BatchNorm::new().lower(&on(&[0, 4, 3]).running(4, true))),
        ("no samples in groups", GroupNorm::new(2).lower(&on(&[0, 4, 3]))),
        ("no samples of instances", InstanceNorm::new().lower(&on(&[0, 4, 3]))),
        ("no channels", BatchNorm::new().lower(&on(&[3, 0]))),
        ("one value in evaluation", BatchNorm::new().training(false).lower(&on(&[1, 4]).running(4, true))),
        (
            "one position by running",
            InstanceNorm::new().use_input_stats(false).lower(&on(&[2, 4, 1]).running(4, false)),
        ),
        ("a zero among huge axes", LayerNorm::new([0]).lower(&on(&[1 << 40, 1 << 40, 0]))),
        ("groups of nothing", GroupNorm::new(2).lower(&on(&[1 << 40, 1 << 40, 0]))),
        ("instances of nothing", InstanceNorm::new().lower(&on(&[1 << 40, 1 << 40, 0]))),
        ("a batch of nothing", BatchNorm::new().lower(&on(&[1 << 40, 0, 1 << 40]))),
        ("six axes", BatchNorm::new().lower(&on(&[2, 3, 2, 2, 2, 2]))),
    ];
    let refused: Vec<String> =
        rows.into_iter().filter_map(|(name, result)| result.err().map(|error| format!("{name}: {error}"))).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn host_tensors_hold_what_their_shape_says() {
    let error = Tensor::new([2, 3], Data::F32(vec![0.0; 5])).expect_err("one value short").to_string();
    assert!(error.contains("[2, 3]") && error.contains('6') && error.contains('5'), "{error}");
    let error = Tensor::zeros([usize::MAX, 3], Dtype::F32).expect_err("overflows").to_string();
    assert!(error.contains("overflows"), "{error}");
    // More than any machine addresses, and less than what an isize counts.
    let error = Tensor::zeros([1 << 58], Dtype::F32).expect_err("no memory").to_string();
    assert!(error.starts_with("shape: expected as many values as memory can hold"), "{error}");
}

/// A plan may be executed by hand, on other tensors than it was lowered for.
#[test]
fn execution_refuses_what_the_plan_was_not_made_for() {
    let engine = pollster::block_on(Engine::open(&Choice::Cpu)).expect("the CPU is there");
    let plan = LayerNorm::new([4]).lower(&on(&[2, 4]).weight(spec(&[4]))).expect("fits");
    let batch = BatchNorm::new().lower(&on(&[2, 4]).running(4, true)).expect("fits");
    let (eight, four, half) = (Data::zeros(Dtype::F32, 8), Data::zeros(Dtype::F32, 4), Data::zeros(Dtype::F16, 8));
    let mut short = RunningStatistics { mean: vec![0.0; 4], var: vec![1.0; 3], num_batches_tracked: Some(0) };
    let mut uncounted = RunningStatistics { num_batches_tracked: None, ..RunningStatistics::new(4) };
    let weight = || Arguments { weight: Some(&four), ..Arguments::default() };
    let rows: Vec<(&wgpu_norm::plan::Plan, &Data, Arguments<'_>, &[&str])> = vec![
        (&plan, &four, weight(), &["input", "8", "4"]),
        (&plan, &half, weight(), &["input", "f32", "f16"]),
        (&plan, &eight, Arguments::default(), &["weight", "missing"]),
        (&plan, &eight, Arguments { weight: Some(&eight), ..Arguments::default() }, &["weight", "4", "8"]),
        (&plan, &eight, Arguments { bias: Some(&four), ..weight() }, &["bias", "not expected"]),
        (&batch, &eight, Arguments::default(), &["running_mean", "missing"]),
        (&batch, &eight, Arguments { running: Some(&mut short), ..Arguments::default() }, &["running_var", "4", "3"]),
        (&batch, &eight, Arguments { running: Some(&mut uncounted), ..Arguments::default() }, &["num_batches_tracked"]),
    ];
    for (plan, input, mut arguments, parts) in rows {
        let mut output = Data::zeros(Dtype::F32, 8);
        let result = pollster::block_on(engine.execute(plan, Some(input), &mut arguments, &mut output));
        let text = result.expect_err("refused").to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text:?} does not say {parts:?}");
    }
}

/// Pieces come in their order, each once, and of the tensor that they were cut from.
#[test]
fn pieces_out_of_turn_are_refused() {
    let cpu = pollster::block_on(Engine::open(&Choice::Cpu)).expect("it is always there");
    let values = |elements: std::ops::Range<usize>| Data::F32(elements.map(|i| (i % 7) as f32).collect());
    let streamed = |norm: &dyn Norm, shape: &[usize]| {
        let streamed = cpu.streamed(norm, &spec(shape), Parameters::default(), 32).expect("it fits");
        streamed.expect("it can be cut")
    };
    let says = |result: Result<(), Error>, part: &str| {
        let text = result.expect_err("it is refused").to_string();
        assert!(text.starts_with("piece: ") && text.contains(part), "{text:?} does not say {part:?}");
    };
    let mut batch = streamed(&BatchNorm::new(), &[6, 4]);
    let pieces = batch.to_measure();
    assert_eq!(pieces.len(), 3);
    says(batch.measure(&pieces[1], &values(pieces[1].elements())), "that from element 0 on");
    let short = batch.measure(&pieces[0], &values(0..3)).expect_err("it is shorter").to_string();
    assert!(short.starts_with("input"), "{short}");
    batch.measure(&pieces[0], &values(pieces[0].elements())).expect("tried again");
    says(batch.measure(&pieces[0], &values(pieces[0].elements())), "that from element 8 on");
    for piece in &pieces[1..] {
        batch.measure(piece, &values(piece.elements())).expect("in its order");
    }
    says(batch.measure(&pieces[2], &values(pieces[2].elements())), "all pieces were measured");

    let mut rows = streamed(&LayerNorm::new([4]), &[6, 4]);
    says(rows.measure(&pieces[0], &values(pieces[0].elements())), "statistics of its own");
    let others = streamed(&LayerNorm::new([5]), &[20, 5]).to_normalize();
    for piece in [&others[0], &others[9]] {
        says(rows.normalize(piece, &mut values(piece.elements())), "one of to_normalize");
        says(rows.expected(piece, &values(piece.elements())).map(drop), "one of to_normalize");
    }
    rows.normalize(&rows.to_normalize()[1], &mut values(8..16)).expect("its own");

    let group = &local(2)[0];
    let shared = Parameters { group: Some(group), ..Parameters::default() };
    let refused = cpu.streamed(&SyncBatchNorm::new(), &spec(&[6, 4]), shared, 32).expect_err("others take part");
    assert!(refused.to_string().starts_with("group: not expected"), "{refused}");
}
