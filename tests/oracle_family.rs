//! What `lower` and the f64 reference make of the normalizations that learn more, or whose statistics are more than a
//! group's own, is what their definition says.

mod direct;

use direct::family::{self, Batch};
use direct::{Channel, Ncs, Running, batch_norm, by_running, values};
use proptest::prelude::*;
use wgpu_norm::norm::{
    BatchGroupNorm, BatchNorm, ConditionalBatchNorm, FilterResponseNorm, Fused, MomentShortcut, Norm, Operands,
    PositionalNorm, SandwichBatchNorm, SwitchableNorm,
};
use wgpu_norm::plan::Extra;
use wgpu_norm::reference::{self, Forward, Values};
use wgpu_norm::{Dtype, Layout, Spec};

const EPS: f64 = 1e-3;
const CLASSES: usize = 3;

/// Both compute in f64 and differ in the order of summation alone.
fn assert_same(got: &[f64], want: &[f64], count: usize) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(1f64, |m, x| m.max(x.abs()));
    let bound = 256.0 * (count as f64 + 16.0) * 2f64.powi(-53) * largest;
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        prop_assert!((got - want).abs() <= bound, "element {}: {} instead of {}", i, got, want);
    }
    Ok(())
}

/// One call: an input, and everything that it may be given with.
#[derive(Debug, Clone)]
struct Call {
    ncs: Ncs,
    operands: Operands,
    values: Values,
}

impl Call {
    fn new(ncs: Ncs) -> Self {
        let Ncs { n, c, s, channels_last } = ncs;
        let shape = if channels_last { [n, s, c] } else { [n, c, s] };
        let values = Values { input: values(1, n * c * s), ..Values::default() };
        Self { ncs, operands: Operands::new(Spec::new(shape, Dtype::F32)), values }
    }

    fn layout(&self) -> Layout {
        if self.ncs.channels_last { Layout::ChannelsLast } else { Layout::ChannelsFirst }
    }

    fn weight(mut self, there: bool, shape: &[usize]) -> Self {
        self.operands.weight = there.then(|| Spec::new(shape, Dtype::F32));
        self.values.weight = there.then(|| values(2, shape.iter().product()));
        self
    }

    fn bias(mut self, there: bool, shape: &[usize]) -> Self {
        self.operands.bias = there.then(|| Spec::new(shape, Dtype::F32));
        self.values.bias = there.then(|| values(3, shape.iter().product()));
        self
    }

    fn extra(mut self, shapes: Extra<Option<Vec<usize>>>) -> Self {
        self.values.extra = shapes.as_ref().map(|shape| shape.as_ref().map(|s| values(7, s.iter().product())));
        self.operands.extra = shapes.map(|shape| shape.map(|shape| Spec::new(shape, Dtype::F32)));
        self
    }

    fn labels(mut self) -> Self {
        self.operands.labels = Some(self.ncs.n);
        self.values.labels = (0..self.ncs.n).map(|n| (n * 5 % CLASSES) as i64).collect();
        self
    }

    /// With running estimates of so many channels, which are returned as well.
    fn running(mut self, len: usize, counter: bool) -> (Self, Running) {
        let running =
            Running { mean: values(4, len), var: values(5, len).iter().map(|v| v.abs() + 0.5).collect(), batches: 3 };
        self.operands = self.operands.running(len, counter);
        (self.values.running_mean, self.values.running_var) = (running.mean.clone(), running.var.clone());
        self.values.num_batches_tracked = 3;
        (self, running)
    }

    fn channel(&self) -> Channel<'_> {
        Channel { weight: self.values.weight.as_deref(), bias: self.values.bias.as_deref() }
    }

    /// What the reference gives, and the values afterwards.
    fn execute(&self, norm: &dyn Norm) -> (Forward, Values) {
        let plan = norm.lower(&self.operands).expect("the operands fit");
        let mut values = self.values.clone();
        (reference::forward(&plan, &mut values).expect("fits"), values)
    }
}

fn axis() -> impl Strategy<Value = usize> {
    prop::sample::select(vec![1, 2, 3, 4, 5, 7, 8, 12])
}

fn ncs() -> impl Strategy<Value = Ncs> {
    (axis(), axis(), axis(), any::<bool>()).prop_map(|(n, c, s, channels_last)| Ncs { n, c, s, channels_last })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn switchable_norm_is_its_definition(
        ncs in ncs().prop_filter("two positions", |ncs| ncs.s > 1),
        (weight, bias, training, tracked) in (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
    ) {
        let three = Some(vec![3]);
        let call = Call::new(ncs).weight(weight, &[ncs.c]).bias(bias, &[ncs.c]);
        let mut call = call.extra(Extra { mean_weight: three.clone(), var_weight: three, ..Extra::default() });
        call.values.extra.var_weight = Some(vec![0.3, -1.1, 0.8]);
        let norm = SwitchableNorm::new().training(training).momentum(0.3).eps(EPS).layout(call.layout());
        let (mean_weight, var_weight) = (call.values.extra.mean_weight.clone(), [0.3, -1.1, 0.8]);
        let mean_weight: [f64; 3] = mean_weight.expect("three").try_into().expect("three");
        let (with, mut running) = call.clone().running(ncs.c, false);
        let call = if tracked { with } else { call };
        let (got, after) = call.execute(&norm);
        let batch = match (tracked, training) {
            (true, true) => Batch::Training(Some((&mut running, 0.3))),
            (true, false) => Batch::Evaluation(&running),
            (false, _) => Batch::Training(None),
        };
        let (x, channel) = (&call.values.input, call.channel());
        let want = family::switchable_norm(x, ncs, channel, mean_weight, var_weight, EPS, batch);
        assert_same(&got.output, &want, x.len())?;
        if tracked {
            assert_same(&after.running_mean, &running.mean, x.len())?;
            assert_same(&after.running_var, &running.var, x.len())?;
        }
    }

    #[test]
    fn positional_norm_and_its_shortcut_are_their_definition(ncs in ncs()) {
        if ncs.c > 1 {
            let call = Call::new(ncs);
            let (got, _) = call.execute(&PositionalNorm::new().eps(EPS).layout(call.layout()));
            let (output, mean, std) = family::positional_norm(&call.values.input, ncs, EPS);
            assert_same(&got.output, &output, ncs.c)?;
            assert_same(&got.statistics.mean, &mean, ncs.c)?;
            let got_std: Vec<f64> = got.statistics.rstd.iter().map(|rstd| 1.0 / rstd).collect();
            assert_same(&got_std, &std, ncs.c)?;
        }
        let shape = if ncs.channels_last { [ncs.n, ncs.s, 1] } else { [ncs.n, 1, ncs.s] };
        let call = Call::new(ncs).weight(true, &shape).bias(true, &shape);
        let (got, _) = call.execute(&MomentShortcut::new().layout(call.layout()));
        let (gamma, beta) = (call.values.weight.as_deref(), call.values.bias.as_deref());
        let want = family::moment_shortcut(&call.values.input, ncs, gamma.expect("one"), beta.expect("one"));
        assert_same(&got.output, &want, 1)?;
    }

    #[test]
    fn batch_group_norm_is_its_definition(
        ncs in ncs().prop_filter("two samples", |ncs| ncs.n > 1),
        pick in any::<prop::sample::Index>(),
        (weight, bias, training) in (any::<bool>(), any::<bool>(), any::<bool>()),
    ) {
        let values_a_sample = if ncs.channels_last { ncs.c } else { ncs.c * ncs.s };
        let divisors: Vec<usize> = (1..=values_a_sample).filter(|g| values_a_sample % g == 0).collect();
        let groups = divisors[pick.index(divisors.len())];
        let (call, mut running) = Call::new(ncs).weight(weight, &[ncs.c]).bias(bias, &[ncs.c]).running(groups, true);
        let batch = BatchNorm::new().training(training).eps(EPS).layout(call.layout());
        let (got, after) = call.execute(&BatchGroupNorm::new(groups).batch(batch));
        let (x, channel) = (&call.values.input, call.channel());
        let want = if training {
            family::batch_group_norm(x, ncs, groups, channel, EPS, Some((&mut running, Some(0.1))))
        } else {
            family::batch_group_norm_by_running(x, ncs, groups, channel, EPS, &running)
        };
        assert_same(&got.output, &want, x.len())?;
        assert_same(&after.running_mean, &running.mean, x.len())?;
        assert_same(&after.running_var, &running.var, x.len())?;
        prop_assert_eq!(after.num_batches_tracked, running.batches);
    }

    #[test]
    fn norms_of_classes_are_their_definition(
        ncs in ncs().prop_filter("two values", |ncs| ncs.n * ncs.s > 1),
        (weight, bias, class_weight, training) in (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        zero_centred in any::<bool>(),
    ) {
        let table = vec![CLASSES, ncs.c];
        let batch = |layout| BatchNorm::new().training(training).eps(EPS).layout(layout);
        let bare = |call: &Call, running: &mut Running| {
            let x = &call.values.input;
            if training {
                batch_norm(x, ncs, Channel::default(), EPS, Some((running, Some(0.1))))
            } else {
                by_running(x, ncs, Channel::default(), EPS, running)
            }
        };

        let (call, mut running) = Call::new(ncs).weight(true, &table).bias(bias, &table).labels().running(ncs.c, true);
        let (got, after) = call.execute(&ConditionalBatchNorm::new(batch(call.layout())));
        let normalized = bare(&call, &mut running);
        let v = &call.values;
        let want = family::conditional(&normalized, ncs, &v.labels, v.weight.as_deref(), v.bias.as_deref());
        assert_same(&got.output, &want, normalized.len())?;
        assert_same(&after.running_var, &running.var, normalized.len())?;

        let tables = Extra { class_weight: class_weight.then(|| table.clone()), class_bias: Some(table), ..Extra::default() };
        let call = Call::new(ncs).weight(weight, &[ncs.c]).bias(bias, &[ncs.c]).extra(tables).labels();
        let (call, mut running) = call.running(ncs.c, true);
        let norm = SandwichBatchNorm::new(batch(call.layout()));
        let (got, _) = call.execute(&Fused::new(norm).zero_centred_weight(zero_centred));
        let normalized = bare(&call, &mut running);
        let Extra { class_weight, class_bias, .. } = &call.values.extra;
        let labels = &call.values.labels;
        let centre = if zero_centred { 1.0 } else { 0.0 };
        let weight: Option<Vec<f64>> = call.values.weight.as_ref().map(|w| w.iter().map(|w| w + centre).collect());
        let channel = Channel { weight: weight.as_deref(), ..call.channel() };
        let want = family::sandwich(&normalized, ncs, labels, channel, class_weight.as_deref(), class_bias.as_deref());
        assert_same(&got.output, &want, normalized.len())?;
    }

    #[test]
    fn filter_response_norm_is_its_definition(
        ncs in ncs(),
        (weight, bias, tau, learned) in (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        eps in prop::sample::select(vec![EPS, -EPS, 0.25]),
    ) {
        let extra = Extra { tau: tau.then(|| vec![ncs.c]), eps_l: learned.then(|| vec![1]), ..Extra::default() };
        let call = Call::new(ncs).weight(weight, &[ncs.c]).bias(bias, &[ncs.c]).extra(extra);
        let (got, _) = call.execute(&FilterResponseNorm::new().eps(eps).layout(call.layout()));
        let (tau, eps_l) = (call.values.extra.tau.as_deref(), call.values.extra.eps_l.as_ref().map(|eps| eps[0]));
        let want = family::filter_response_norm(&call.values.input, ncs, call.channel(), tau, eps, eps_l);
        assert_same(&got.output, &want, ncs.s)?;
    }
}
