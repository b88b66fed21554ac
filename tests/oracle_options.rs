//! What `tests/oracle.rs` leaves to chance or leaves out: longer axes under a bound that is derived, exactly
//! which axes are refused, single samples, untracked evaluation, every momentum, and batch after batch.

mod direct;

use direct::{Channel, Ncs, values};
use proptest::prelude::*;
use wgpu_norm::norm::{BatchNorm, InstanceNorm, LayerNorm, Norm, Operands, RmsNorm};
use wgpu_norm::plan::{Momentum, View};
use wgpu_norm::reference::{self, Values};
use wgpu_norm::{Dtype, Layout, Spec};

/// Large enough that dividing by `sqrt(var + eps)` magnifies an error at most twice.
const EPS: f64 = 0.25;

/// Two sums of `count` values in different orders: each is off by at most `count * 2^-53` times the sum of
/// magnitudes, values are at most 3, division by `sqrt(eps)` doubles that and a weight triples it. With both
/// sides and the variance's share 64 covers it; 16 more roundings are outside the sums.
fn assert_same(got: &[f64], want: &[f64], count: usize) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.len(), want.len());
    let unit = 64.0 * (count as f64 + 16.0) * 2f64.powi(-53);
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        prop_assert!((got - want).abs() <= unit * (1.0 + want.abs()), "element {}: {} instead of {}", i, got, want);
    }
    Ok(())
}

/// 0, 1, primes, powers of two and their neighbours.
fn axis() -> impl Strategy<Value = usize> {
    let long = vec![31, 32, 33, 37, 61, 63, 64, 65, 101, 127, 128, 129, 255, 256, 257, 509];
    let short = vec![2, 3, 4, 5, 7, 8, 9, 11, 13, 15, 16, 17];
    prop_oneof![1 => Just(0usize), 4 => Just(1), 12 => prop::sample::select(short), 5 => prop::sample::select(long)]
}

fn shape(ranks: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(axis(), ranks).prop_filter("small", |axes| axes.iter().product::<usize>() < 4000)
}

fn spec(shape: &[usize]) -> Spec {
    Spec::new(shape, Dtype::F32)
}

/// Whether keep, reduce, keep, reduce holds the axes: an axis of 1 belongs to either kind.
fn four_levels_hold(shape: &[usize], reduced: &[bool]) -> bool {
    let mut kinds: Vec<bool> = shape.iter().zip(reduced).filter(|(n, _)| **n != 1).map(|(_, r)| *r).collect();
    kinds.dedup();
    kinds.len() + usize::from(kinds.first() == Some(&true)) <= 4
}

/// `[N, *, C]` or `[N, C, *]`, without N for a single sample.
fn channel_shape(n: Option<usize>, c: usize, spatial: &[usize], layout: Layout) -> Vec<usize> {
    let inner = match layout {
        Layout::ChannelsFirst => [&[c], spatial].concat(),
        Layout::ChannelsLast => [spatial, &[c]].concat(),
    };
    n.into_iter().chain(inner).collect()
}

fn layout() -> impl Strategy<Value = Layout> {
    prop::sample::select(vec![Layout::ChannelsFirst, Layout::ChannelsLast])
}

fn ncs(n: usize, c: usize, spatial: &[usize], layout: Layout) -> Ncs {
    Ncs { n, c, s: spatial.iter().product(), channels_last: layout == Layout::ChannelsLast }
}

fn estimates(c: usize, batches: u64) -> direct::Running {
    direct::Running { mean: values(4, c), var: values(5, c).iter().map(|v| v.abs() + 0.5).collect(), batches }
}

fn assert_same_state(got: &Values, want: &direct::Running, count: usize) -> Result<(), TestCaseError> {
    assert_same(&got.running_mean, &want.mean, count)?;
    assert_same(&got.running_var, &want.var, count)?;
    prop_assert_eq!(got.num_batches_tracked, want.batches);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_global_rejects: 65_536, ..ProptestConfig::default() })]

    #[test]
    fn any_axes_that_four_levels_hold_are_normalized_and_no_others(
        shape in shape(2..=5),
        mask in prop::collection::vec(any::<bool>(), 5),
        seed in any::<u64>(),
        (centred, affine) in (any::<bool>(), any::<bool>()),
    ) {
        let reduced = &mask[..shape.len()];
        prop_assume!(reduced.contains(&true));
        let axes: Vec<isize> = (0..shape.len()).filter(|&i| reduced[i]).map(|i| i as isize).collect();
        let lengths: Vec<usize> = axes.iter().map(|&i| shape[i as usize]).collect();
        let norm: Box<dyn Norm> = if centred {
            Box::new(LayerNorm::over_axes(axes).eps(EPS))
        } else {
            Box::new(RmsNorm::over_axes(axes).eps(EPS))
        };
        let mut operands = Operands::new(spec(&shape));
        operands.weight = affine.then(|| spec(&lengths));
        let lowered = norm.lower(&operands);
        prop_assert_eq!(lowered.is_ok(), four_levels_hold(&shape, reduced), "{:?} {:?}: {:?}", shape, reduced, lowered);
        let Ok(plan) = lowered else { return Ok(()) };
        let count: usize = lengths.iter().product();
        let (x, w) = (values(seed, shape.iter().product()), affine.then(|| values(seed ^ 2, count)));
        let mut inputs = Values { input: x.clone(), weight: w.clone(), ..Values::default() };
        let got = reference::execute(&plan, &mut inputs).expect("the values fit");
        let want = direct::over_axes(&x, &shape, reduced, (w.as_deref(), None), EPS, centred);
        assert_same(&got, &want, count)?;
    }

    #[test]
    fn a_single_sample_is_a_batch_of_one(
        c in axis(),
        spatial in shape(1..=3),
        layout in layout(),
        (own, tracked, affine) in (any::<bool>(), any::<bool>(), any::<bool>()),
        momentum in -0.5..1.5,
        seed in any::<u64>(),
    ) {
        let ncs = ncs(1, c, &spatial, layout);
        let elements = ncs.c * ncs.s;
        prop_assume!(elements < 4000 && (ncs.s != 1 || !own));
        let (x, w, b) = (values(seed, elements), values(seed ^ 2, c), values(seed ^ 3, c));
        let channel = if affine { Channel { weight: Some(&w), bias: Some(&b) } } else { Channel::default() };
        let mut operands = Operands::new(spec(&channel_shape(None, c, &spatial, layout)));
        if affine {
            operands = operands.weight(spec(&[c])).bias(spec(&[c]));
        }
        let keeps = tracked || !own;
        if keeps {
            operands = operands.running(c, false);
        }
        let mut want_state = estimates(c, 3);
        let mut inputs = Values {
            input: x.clone(),
            weight: affine.then(|| w.clone()),
            bias: affine.then(|| b.clone()),
            running_mean: want_state.mean.clone(),
            running_var: want_state.var.clone(),
            num_batches_tracked: 3,
            ..Values::default()
        };
        let norm = InstanceNorm::new().use_input_stats(own).momentum(momentum).eps(EPS).batched(false).layout(layout);
        let plan = norm.lower(&operands).expect("a single sample fits");
        let got = reference::execute(&plan, &mut inputs).expect("the values fit");
        let want = if own {
            let update = (keeps && elements > 0).then_some((&mut want_state, momentum));
            direct::instance_norm(&x, ncs, channel, EPS, update)
        } else {
            direct::by_running(&x, ncs, channel, EPS, &want_state)
        };
        assert_same(&got, &want, ncs.s)?;
        assert_same_state(&inputs, &want_state, ncs.s)?;
    }

    #[test]
    fn batch_after_batch_the_running_estimates_follow(
        (n, c) in (1..9usize, axis()),
        spatial in shape(0..=2),
        layout in layout(),
        momentum in prop_oneof![Just(None), Just(Some(0.0)), Just(Some(1.0)), (-0.5..1.5).prop_map(Some)],
        counted in any::<bool>(),
        tracked_before in prop::sample::select(vec![0u64, 1, 41, (1 << 32) - 2]),
        seed in any::<u64>(),
    ) {
        let ncs = ncs(n, c, &spatial, layout);
        let (elements, count) = (ncs.n * ncs.c * ncs.s, ncs.n * ncs.s);
        prop_assume!(elements < 4000 && elements > 0 && count > 1);
        let counted = counted || momentum.is_none();
        let share = momentum.map_or(Momentum::Cumulative, Momentum::Fixed);
        let norm = BatchNorm::new().momentum(share).eps(EPS).layout(layout);
        let operands = Operands::new(spec(&channel_shape(Some(n), c, &spatial, layout))).running(c, counted);
        let plan = norm.lower(&operands).expect("the batch fits");
        let mut want_state = estimates(c, tracked_before);
        let mut inputs = Values {
            running_mean: want_state.mean.clone(),
            running_var: want_state.var.clone(),
            num_batches_tracked: tracked_before,
            ..Values::default()
        };
        for batch in 0..3 {
            inputs.input = values(seed.wrapping_add(batch), elements);
            let got = reference::execute(&plan, &mut inputs).expect("the values fit");
            let x = inputs.input.clone();
            let want = direct::batch_norm(&x, ncs, Channel::default(), EPS, Some((&mut want_state, momentum)));
            assert_same(&got, &want, count)?;
        }
        if !counted {
            // Nobody counts, so the count is as it was.
            want_state.batches = tracked_before;
        }
        assert_same_state(&inputs, &want_state, 3 * count)?;
    }

    #[test]
    fn evaluation_without_running_estimates_takes_the_batch_and_keeps_nothing(
        (n, c) in (axis(), axis()),
        spatial in shape(0..=2),
        layout in layout(),
        seed in any::<u64>(),
    ) {
        let ncs = ncs(n, c, &spatial, layout);
        let elements = ncs.n * ncs.c * ncs.s;
        prop_assume!(elements < 4000 && ncs.n * ncs.s != 1);
        let operands = Operands::new(spec(&channel_shape(Some(n), c, &spatial, layout)));
        let plan = BatchNorm::new().training(false).eps(EPS).layout(layout).lower(&operands).expect("the batch fits");
        prop_assert_eq!((plan.running_len(), plan.running_update()), (None, None));
        let x = values(seed, elements);
        let mut inputs = Values { input: x.clone(), ..Values::default() };
        let got = reference::execute(&plan, &mut inputs).expect("the values fit");
        assert_same(&got, &direct::batch_norm(&x, ncs, Channel::default(), EPS, None), ncs.n * ncs.s)?;
    }
}

/// What cumulative means, without the recurrence: after k batches from a fresh state the running mean is the
/// plain average of the k means.
#[test]
fn a_cumulative_momentum_is_the_plain_average_of_all_batches() {
    let norm = BatchNorm::new().momentum(Momentum::Cumulative);
    let plan = norm.lower(&Operands::new(spec(&[4, 1])).running(1, true)).expect("the batch fits");
    let mut inputs = Values { running_mean: vec![-17.0], running_var: vec![99.0], ..Values::default() };
    for batch in [[1.0, 3.0, 1.0, 3.0], [10.0, 10.0, 10.0, 10.0], [0.0, 0.0, 6.0, 6.0]] {
        inputs.input = batch.to_vec();
        reference::execute(&plan, &mut inputs).expect("the values fit");
    }
    // Means 2, 10, 3; unbiased variances 4/3, 0, 12. What the state held before the first batch is gone.
    assert!((inputs.running_mean[0] - 5.0).abs() < 1e-14, "{:?}", inputs.running_mean);
    assert!((inputs.running_var[0] - (4.0 / 3.0 + 12.0) / 3.0).abs() < 1e-14, "{:?}", inputs.running_var);
    assert_eq!(inputs.num_batches_tracked, 3);
}

/// Rows of the table of the views that `tests/oracle.rs` has no sample of: single samples, one position, RMS.
#[test]
fn rare_rows_of_the_table_of_views() {
    let last = Layout::ChannelsLast;
    type Row = (&'static str, Box<dyn Norm>, &'static [usize], View);
    let rows: [Row; 9] = [
        ("RMS, last two", Box::new(RmsNorm::new([5, 7])), &[2, 6, 5, 7], View::new(12, 1, 1, 35)),
        ("RMS, channels", Box::new(RmsNorm::over_axes([1])), &[2, 6, 5, 7], View::new(2, 6, 35, 1)),
        ("layer, C and W", Box::new(LayerNorm::over_axes([1, -1])), &[2, 6, 5, 7], View::new(2, 6, 5, 7)),
        ("unbatched", Box::new(InstanceNorm::new().batched(false)), &[6, 5, 7], View::new(6, 1, 1, 35)),
        (
            "unbatched, last",
            Box::new(InstanceNorm::new().batched(false).layout(last)),
            &[5, 7, 6],
            View::new(1, 35, 6, 1),
        ),
        ("batch of vectors", Box::new(BatchNorm::new()), &[2, 6], View::new(1, 2, 6, 1)),
        ("batch of one position", Box::new(BatchNorm::new()), &[2, 6, 1, 1], View::new(1, 2, 6, 1)),
        ("evaluation", Box::new(BatchNorm::new().training(false)), &[2, 6, 5, 7], View::new(1, 2, 6, 35)),
        ("layer, axes of one", Box::new(LayerNorm::over_axes([0, 2])), &[1, 6, 1, 7], View::new(42, 1, 1, 1)),
    ];
    for (name, norm, shape, view) in rows {
        let plan = norm.lower(&Operands::new(spec(shape))).expect(name);
        assert_eq!(plan.view(), view, "{name}");
    }
}
