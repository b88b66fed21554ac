//! Shapes at the edge of the machine's integers: `lower` answers them, it never panics and never wraps.
//!
//! A tensor with an axis of 0 is empty however long its other axes are, so the check of the number of
//! elements lets it through, and every product of the other axes is still to be guarded.

use std::panic::{AssertUnwindSafe, catch_unwind};
use wgpu_norm::norm::{
    BatchGroupNorm, BatchNorm, FilterResponseNorm, GroupNorm, InstanceNorm, LayerNorm, MomentShortcut, Norm, Operands,
    PositionalNorm, RmsNorm,
};
use wgpu_norm::plan::{Momentum, Plan};
use wgpu_norm::reference::{self, Values};
use wgpu_norm::{Choice, Data, Dtype, Engine, Error, Layout, Parameters, RunningStatistics, Spec, Tensor};

const HALF: usize = 1 << 40;
const MOST: usize = usize::MAX;

/// Every norm that takes any shape `[N, C, *]` or `[N, *, C]`.
fn norms_of_channels() -> Vec<(String, Box<dyn Norm>)> {
    let mut norms: Vec<(String, Box<dyn Norm>)> = Vec::new();
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        for groups in [1, 2, HALF, MOST] {
            norms.push((format!("group {groups} {layout:?}"), Box::new(GroupNorm::new(groups).layout(layout))));
        }
        norms.push((format!("instance {layout:?}"), Box::new(InstanceNorm::new().layout(layout))));
        norms.push((format!("unbatched {layout:?}"), Box::new(InstanceNorm::new().batched(false).layout(layout))));
        norms.push((format!("batch {layout:?}"), Box::new(BatchNorm::new().layout(layout))));
        norms.push((format!("evaluation {layout:?}"), Box::new(BatchNorm::new().training(false).layout(layout))));
        for groups in [1, 2, HALF, MOST] {
            let batch = BatchNorm::new().layout(layout);
            norms
                .push((format!("batch group {groups} {layout:?}"), Box::new(BatchGroupNorm::new(groups).batch(batch))));
        }
        norms.push((format!("filter response {layout:?}"), Box::new(FilterResponseNorm::new().layout(layout))));
        norms.push((format!("positional {layout:?}"), Box::new(PositionalNorm::new().layout(layout))));
        norms.push((format!("shortcut {layout:?}"), Box::new(MomentShortcut::new().layout(layout))));
    }
    norms
}

fn norms_of_axes() -> Vec<(String, Box<dyn Norm>)> {
    let axes: [&[isize]; 5] = [&[0], &[1], &[-1], &[1, 2], &[0, 1, 2]];
    let layer = axes.iter().map(|&a| (format!("layer {a:?}"), Box::new(LayerNorm::over_axes(a)) as Box<dyn Norm>));
    let rms = axes.iter().map(|&a| (format!("RMS {a:?}"), Box::new(RmsNorm::over_axes(a)) as Box<dyn Norm>));
    layer.chain(rms).collect()
}

fn on(shape: &[usize]) -> Operands {
    Operands::new(Spec::new(shape, Dtype::F32))
}

/// What `lower` says, or that it panicked.
fn lower(norm: &dyn Norm, operands: &Operands) -> Result<Result<Plan, Error>, String> {
    catch_unwind(AssertUnwindSafe(|| norm.lower(operands))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_default()
    })
}

/// A plan of nothing executes to nothing.
fn executes_to_nothing(plan: &Plan) -> bool {
    let engine = pollster::block_on(Engine::open(&Choice::Cpu)).expect("the CPU is there");
    let (empty, mut output) = (Data::zeros(plan.dtype(), 0), Data::zeros(plan.dtype(), 0));
    let on_cpu = pollster::block_on(engine.execute(plan, Some(&empty), &mut Default::default(), &mut output));
    on_cpu.is_ok() && reference::execute(plan, &mut Values::default()).is_ok_and(|output| output.is_empty())
}

#[test]
fn an_empty_tensor_with_huge_axes_is_lowered_or_refused_in_words() {
    let shapes: [&[usize]; 10] = [
        &[HALF, HALF, 0],
        &[HALF, 0, HALF],
        &[0, HALF, HALF],
        &[MOST, 0, 3],
        &[MOST, MOST, 0],
        &[0, MOST, MOST],
        &[MOST, 0, MOST],
        &[0, 3, HALF, HALF],
        &[HALF, 3, HALF, 0],
        &[HALF, HALF, HALF, 0],
    ];
    let mut faults = Vec::new();
    for (name, norm) in norms_of_channels().into_iter().chain(norms_of_axes()) {
        for shape in shapes {
            match lower(&*norm, &on(shape)) {
                Err(panic) => faults.push(format!("{name} on {shape:?}: panics, {panic}")),
                Ok(Err(Error::Value { argument: "num_groups", .. } | Error::Overflow { argument: "input", .. })) => {}
                Ok(Err(Error::Shape { argument: "input", .. })) if name.starts_with("positional") => {}
                Ok(Err(error)) => faults.push(format!("{name} on {shape:?}: refused for another reason, {error}")),
                Ok(Ok(plan)) if plan.view().elements() != 0 => {
                    faults.push(format!("{name} on {shape:?}: {:?} is not empty", plan.view()));
                }
                Ok(Ok(plan)) if !executes_to_nothing(&plan) => faults.push(format!("{name} on {shape:?}: executes")),
                Ok(Ok(_)) => {}
            }
        }
    }
    assert!(faults.is_empty(), "{} faults: {faults:#?}", faults.len());
}

#[test]
fn a_tensor_beyond_the_address_space_overflows_in_words() {
    let shapes: [&[usize]; 5] =
        [&[MOST, 2, 2], &[2, MOST, 2], &[2, 2, MOST], &[HALF, HALF, HALF], &[1 << 31, 1 << 16, 1 << 15]];
    let mut faults = Vec::new();
    for (name, norm) in norms_of_channels().into_iter().chain(norms_of_axes()) {
        for shape in shapes {
            let answer = lower(&*norm, &on(shape));
            if !matches!(answer, Ok(Err(Error::Overflow { argument: "input", .. }))) {
                faults.push(format!("{name} on {shape:?}: {answer:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn low_ranks_are_answered_without_a_panic() {
    let mut faults = Vec::new();
    for (name, norm) in norms_of_channels().into_iter().chain(norms_of_axes()) {
        for shape in [&[][..], &[0], &[1], &[4]] {
            if let Err(panic) = lower(&*norm, &on(shape)) {
                faults.push(format!("{name} on {shape:?}: panics, {panic}"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// PyTorch takes every one of these; each is lowered and executed, with and without running estimates.
#[test]
fn no_samples_give_no_output_and_leave_the_estimates_alone() {
    let engines = [Choice::Reference, Choice::Cpu].map(|choice| pollster::block_on(Engine::open(&choice)));
    let (first, last) = (Layout::ChannelsFirst, Layout::ChannelsLast);
    type Row = (&'static str, Box<dyn Norm>, &'static [usize], bool);
    let rows: [Row; 13] = [
        ("layer", Box::new(LayerNorm::new([4])), &[0, 4], false),
        ("layer, channels", Box::new(LayerNorm::over_axes([1])), &[0, 4, 3], false),
        ("RMS", Box::new(RmsNorm::new([4])), &[0, 4], false),
        ("group", Box::new(GroupNorm::new(2).layout(first)), &[0, 4, 3], false),
        ("group, last", Box::new(GroupNorm::new(2).layout(last)), &[0, 3, 4], false),
        ("instance", Box::new(InstanceNorm::new().layout(first)), &[0, 4, 3], true),
        ("instance, last", Box::new(InstanceNorm::new().layout(last)), &[0, 3, 4], true),
        ("batch", Box::new(BatchNorm::new().layout(first)), &[0, 4, 3], true),
        ("batch, last", Box::new(BatchNorm::new().layout(last)), &[0, 3, 4], true),
        ("evaluation", Box::new(BatchNorm::new().training(false)), &[0, 4], true),
        ("batch group", Box::new(BatchGroupNorm::new(2)), &[0, 4, 3], false),
        ("batch group, no positions", Box::new(BatchGroupNorm::new(2)), &[3, 4, 0], false),
        ("group, no positions", Box::new(GroupNorm::new(2)), &[3, 4, 0], false),
    ];
    for engine in engines.map(|engine| engine.expect("it needs no device")) {
        for (name, norm, shape, keeps_running) in &rows {
            let input = Tensor::zeros(*shape, Dtype::F32).expect("it is empty");
            let weight = Tensor::from_f32([4], vec![2.0; 4]).expect("four values");
            let before = RunningStatistics { mean: vec![3.0; 4], var: vec![5.0; 4], num_batches_tracked: Some(7) };
            let mut running = before.clone();
            let mut parameters =
                Parameters { weight: Some(&weight), bias: Some(&weight), running: None, ..Parameters::default() };
            parameters.running = keeps_running.then_some(&mut running);
            let output = engine.forward(&**norm, &input, &mut parameters).expect(name);
            assert_eq!(output.shape(), *shape, "{name} on {}", engine.name());
            assert_eq!((&running.mean, &running.var), (&before.mean, &before.var), "{name} on {}", engine.name());
        }
    }
}

#[test]
fn every_norm_takes_any_eps_but_nan() {
    let norms = |eps: f64| -> Vec<(&'static str, Box<dyn Norm>)> {
        vec![
            ("layer", Box::new(LayerNorm::new([3]).eps(eps))),
            ("RMS", Box::new(RmsNorm::over_axes([1]).eps(eps))),
            ("group", Box::new(GroupNorm::new(2).eps(eps))),
            ("instance", Box::new(InstanceNorm::new().eps(eps))),
            ("batch", Box::new(BatchNorm::new().eps(eps))),
            ("evaluation", Box::new(BatchNorm::new().training(false).eps(eps))),
        ]
    };
    for eps in [0.0, -1e-5, f64::INFINITY, f64::MIN_POSITIVE] {
        for (name, norm) in norms(eps) {
            let plan = norm.lower(&on(&[2, 4, 3])).expect(name);
            assert_eq!(plan.eps(), eps, "{name} takes it as it is");
        }
    }
    for (name, norm) in norms(f64::NAN) {
        let error = norm.lower(&on(&[2, 4, 3])).expect_err(name);
        assert!(matches!(error, Error::Value { argument: "eps", .. }), "{name}: {error}");
    }
}

#[test]
fn running_estimates_are_refused_where_a_norm_keeps_none_or_they_are_of_another_length() {
    let channels_last = || on(&[2, 3, 4]).running(3, true);
    type Row = (&'static str, Box<dyn Norm>, Operands, &'static [&'static str]);
    let rows: [Row; 5] = [
        ("RMS", Box::new(RmsNorm::new([4])), on(&[2, 4]).running(4, false), &["running_mean", "no running"]),
        ("instance", Box::new(InstanceNorm::new()), on(&[2, 4, 3]).running(3, false), &["running_mean", "[4]", "[3]"]),
        (
            "unbatched",
            Box::new(InstanceNorm::new().batched(false)),
            on(&[2, 4, 3]).running(4, false),
            &["running_mean", "[2]", "[4]"],
        ),
        (
            "channels last",
            Box::new(BatchNorm::new().layout(Layout::ChannelsLast)),
            channels_last(),
            &["running_mean", "[4]", "[3]", "[2, 3, 4]"],
        ),
        (
            "cumulative in evaluation needs no counter, but the right length",
            Box::new(BatchNorm::new().training(false).momentum(Momentum::Cumulative)),
            on(&[2, 4]).running(5, false),
            &["running_mean", "[4]", "[5]"],
        ),
    ];
    for (name, norm, operands, parts) in rows {
        let text = norm.lower(&operands).expect_err(name).to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{name}: {text:?} does not say {parts:?}");
    }
    let cumulative = BatchNorm::new().training(false).momentum(Momentum::Cumulative);
    assert!(cumulative.lower(&on(&[2, 4]).running(4, false)).is_ok(), "evaluation counts nothing");
}
