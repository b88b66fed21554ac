//! What `lower` and the f64 reference make of a norm is what its definition says.

mod direct;

use direct::{Channel, Ncs, values};
use proptest::prelude::*;
use wgpu_norm::norm::{BatchNorm, GroupNorm, InstanceNorm, LayerNorm, Norm, Operands, RmsNorm};
use wgpu_norm::plan::{Momentum, View};
use wgpu_norm::reference::{self, Values};
use wgpu_norm::{Dtype, Layout, Spec};

const EPS: f64 = 1e-3;

/// Both compute in f64 and differ in the order of summation alone.
fn assert_same(got: &[f64], want: &[f64], count: usize) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(1f64, |m, x| m.max(x.abs()));
    let bound = 64.0 * (count as f64 + 16.0) * 2f64.powi(-53) * largest;
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        prop_assert!((got - want).abs() <= bound, "element {}: {} instead of {}", i, got, want);
    }
    Ok(())
}

fn axis() -> impl Strategy<Value = usize> {
    prop_oneof![1 => Just(0usize), 3 => Just(1), 8 => prop::sample::select(vec![2, 3, 4, 5, 7, 8, 9, 13, 16, 17])]
}

fn execute(norm: &dyn Norm, operands: &Operands, values: &mut Values) -> Vec<f64> {
    let plan = norm.lower(operands).expect("the operands fit");
    reference::execute(&plan, values).expect("fits")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn layer_and_rms_norm_are_their_definition(
        shape in prop::collection::vec(axis(), 1..=5).prop_filter("small", |s| s.iter().product::<usize>() < 4000),
        mask in prop::collection::vec(any::<bool>(), 5),
        last in any::<bool>(),
        cut in any::<prop::sample::Index>(),
        centred in any::<bool>(),
        (weight, bias) in (any::<bool>(), any::<bool>()),
    ) {
        let kept = cut.index(shape.len());
        let reduced: Vec<bool> = (0..shape.len()).map(|i| if last { i >= kept } else { mask[i] }).collect();
        let lengths: Vec<usize> = shape.iter().zip(&reduced).filter(|(_, r)| **r).map(|(n, _)| *n).collect();
        prop_assume!(!lengths.is_empty());
        let axes: Vec<isize> = (0..shape.len()).filter(|&i| reduced[i]).map(|i| i as isize).collect();
        let norm: Box<dyn Norm> = match (centred, last) {
            (true, true) => Box::new(LayerNorm::new(lengths.clone()).eps(EPS)),
            (true, false) => Box::new(LayerNorm::over_axes(axes).eps(EPS)),
            (false, true) => Box::new(RmsNorm::new(lengths.clone()).eps(EPS)),
            (false, false) => Box::new(RmsNorm::over_axes(axes).eps(EPS)),
        };
        let spec = |shape: &[usize]| Spec::new(shape, Dtype::F32);
        let mut operands = Operands::new(spec(&shape));
        let parameters: usize = lengths.iter().product();
        let (w, b) = (weight.then(|| values(2, parameters)), bias.then(|| values(3, parameters)));
        operands.weight = weight.then(|| spec(&lengths));
        operands.bias = bias.then(|| spec(&lengths));
        // More alternations than four levels hold are refused, and tested elsewhere.
        let Ok(plan) = norm.lower(&operands) else { return Ok(()) };
        let x = values(1, shape.iter().product());
        let mut inputs = Values { input: x.clone(), weight: w.clone(), bias: b.clone(), ..Values::default() };
        let got = reference::execute(&plan, &mut inputs).expect("fits");
        let want = direct::over_axes(&x, &shape, &reduced, (w.as_deref(), b.as_deref()), EPS, centred);
        assert_same(&got, &want, plan.view().count())?;
    }

    #[test]
    fn norms_of_channels_are_their_definition(
        (n, c) in (axis(), axis()),
        spatial in prop::collection::vec(axis(), 0..=3).prop_filter("small", |s| s.iter().product::<usize>() < 300),
        channels_last in any::<bool>(),
        which in 0..5u8,
        groups in 1..5usize,
        (weight, bias, tracked, cumulative) in (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
    ) {
        let layout = if channels_last { Layout::ChannelsLast } else { Layout::ChannelsFirst };
        let s: usize = spatial.iter().product();
        let ncs = Ncs { n, c, s, channels_last };
        let shape: Vec<usize> = if channels_last {
            std::iter::once(n).chain(spatial.iter().copied()).chain([c]).collect()
        } else {
            [n, c].into_iter().chain(spatial.iter().copied()).collect()
        };
        let spec = |shape: &[usize]| Spec::new(shape, Dtype::F32);
        let x = values(1, n * c * s);
        let (w, b) = (weight.then(|| values(2, c)), bias.then(|| values(3, c)));
        let channel = Channel { weight: w.as_deref(), bias: b.as_deref() };
        let mut operands = Operands::new(spec(&shape));
        operands.weight = weight.then(|| spec(&[c]));
        operands.bias = bias.then(|| spec(&[c]));
        let state = || direct::Running { mean: values(4, c), var: values(5, c).iter().map(|v| v.abs() + 0.5).collect(), batches: 3 };
        let mut running = state();
        let mut inputs = Values {
            input: x.clone(),
            weight: w.clone(),
            bias: b.clone(),
            running_mean: running.mean.clone(),
            running_var: running.var.clone(),
            num_batches_tracked: running.batches,
            ..Values::default()
        };
        let with_running = operands.clone().running(c, true);
        let momentum = if cumulative { Momentum::Cumulative } else { Momentum::Fixed(0.3) };
        let (got, want) = match which {
            0 => {
                prop_assume!(c % groups == 0);
                let norm = GroupNorm::new(groups).eps(EPS).layout(layout);
                (execute(&norm, &operands, &mut inputs), direct::group_norm(&x, ncs, groups, channel, EPS))
            }
            1 => {
                prop_assume!(s != 1 && !spatial.is_empty());
                let norm = InstanceNorm::new().momentum(0.3).eps(EPS).layout(layout);
                let update = tracked && n * c * s > 0;
                let operands = if tracked { &with_running } else { &operands };
                let want = direct::instance_norm(&x, ncs, channel, EPS, update.then_some((&mut running, 0.3)));
                (execute(&norm, operands, &mut inputs), want)
            }
            2 => {
                prop_assume!(!spatial.is_empty());
                let norm = InstanceNorm::new().use_input_stats(false).eps(EPS).layout(layout);
                (execute(&norm, &with_running, &mut inputs), direct::by_running(&x, ncs, channel, EPS, &running))
            }
            3 => {
                prop_assume!(n * s != 1);
                let norm = BatchNorm::new().momentum(momentum).eps(EPS).layout(layout);
                let operands = if tracked { &with_running } else { &operands };
                let share = if cumulative { None } else { Some(0.3) };
                let want = direct::batch_norm(&x, ncs, channel, EPS, tracked.then_some((&mut running, share)));
                (execute(&norm, operands, &mut inputs), want)
            }
            _ => {
                let norm = BatchNorm::new().training(false).eps(EPS).layout(layout);
                (execute(&norm, &with_running, &mut inputs), direct::by_running(&x, ncs, channel, EPS, &running))
            }
        };
        let count = n * c * s;
        assert_same(&got, &want, count)?;
        assert_same(&inputs.running_mean, &running.mean, count)?;
        assert_same(&inputs.running_var, &running.var, count)?;
        prop_assert_eq!(inputs.num_batches_tracked, running.batches);
    }
}

/// The table of the views: norm, layout, `[a, b, c, d]` for N = 2, C = 6, S = 5 · 7.
#[test]
fn each_norm_lowers_to_the_view_of_the_table() {
    let (first, last): ([usize; 4], [usize; 4]) = ([2, 6, 5, 7], [2, 5, 7, 6]);
    type Row = (&'static str, Box<dyn Norm>, [usize; 4], View);
    let rows: [Row; 11] = [
        ("layer, last two", Box::new(LayerNorm::new([5, 7])), first, View::new(12, 1, 1, 35)),
        ("layer, all", Box::new(LayerNorm::new(first)), first, View::new(1, 1, 1, 420)),
        ("RMS, last", Box::new(RmsNorm::new([7])), first, View::new(60, 1, 1, 7)),
        ("layer, channels", Box::new(LayerNorm::over_axes([1])), first, View::new(2, 6, 35, 1)),
        ("instance", Box::new(InstanceNorm::new()), first, View::new(12, 1, 1, 35)),
        ("instance, last", Box::new(InstanceNorm::new().layout(Layout::ChannelsLast)), last, View::new(2, 35, 6, 1)),
        ("group", Box::new(GroupNorm::new(3)), first, View::new(6, 1, 1, 70)),
        ("group, last", Box::new(GroupNorm::new(3).layout(Layout::ChannelsLast)), last, View::new(2, 35, 3, 2)),
        ("batch", Box::new(BatchNorm::new()), first, View::new(1, 2, 6, 35)),
        ("batch, last", Box::new(BatchNorm::new().layout(Layout::ChannelsLast)), last, View::new(1, 70, 6, 1)),
        ("layer, N and S", Box::new(LayerNorm::over_axes([0, 2, 3])), first, View::new(1, 2, 6, 35)),
    ];
    for (name, norm, shape, view) in rows {
        let plan = norm.lower(&Operands::new(Spec::new(shape, Dtype::F32))).expect("the shape fits");
        assert_eq!(plan.view(), view, "{name}");
    }
}
