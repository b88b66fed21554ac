//! The CPU backend against the f64 reference.

mod bits;
mod past_caches;
mod vectors;

use super::execute;
use crate::norm::{BatchNorm, GroupNorm, InstanceNorm, LayerNorm, MomentShortcut, Norm, Operands, RmsNorm};
use crate::plan::{Arguments, Momentum, Plan, RunningStatistics, Source, Statistic, View};
use crate::reference::{self, Values};
use crate::tensor::{Data, Dtype, Layout, Spec};

const ODD: [usize; 13] = [1, 2, 3, 5, 7, 13, 16, 17, 31, 255, 257, 1009, 4097];
const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::Bf16];

/// A call: a plan and its tensors.
struct Case {
    name: String,
    plan: Plan,
    input: Data,
    weight: Option<Data>,
    bias: Option<Data>,
    running: Option<RunningStatistics>,
}

/// Bell-shaped numbers with deviation 1 about `mean`, the same for the same seed.
fn noise(len: usize, mean: f64, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f64::from(u32::try_from(state >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    };
    (0..len).map(|_| mean + (uniform() + uniform() + uniform() + uniform() - 2.0) * 3f64.sqrt()).collect()
}

impl Case {
    /// A norm of a noise of this shape, with weight and bias where `parameters` gives their shape.
    fn new(norm: &dyn Norm, shape: &[usize], dtype: Dtype, mean: f64, parameters: Option<&[usize]>) -> Self {
        Self::tracked(norm, shape, dtype, mean, parameters, None)
    }

    fn tracked(
        norm: &dyn Norm,
        shape: &[usize],
        dtype: Dtype,
        mean: f64,
        parameters: Option<&[usize]>,
        channels: Option<usize>,
    ) -> Self {
        let mut operands = Operands::new(Spec::new(shape, dtype));
        if let Some(shape) = parameters {
            operands = operands.weight(Spec::new(shape, dtype)).bias(Spec::new(shape, dtype));
        }
        if let Some(channels) = channels {
            operands = operands.running(channels, true);
        }
        let plan = norm.lower(&operands).expect("the case is well-formed");
        let len = shape.iter().product();
        let parameter = |seed| parameters.map(|p| Data::from_f64(dtype, &noise(p.iter().product(), 1.0, seed)));
        let running = channels.map(|c| RunningStatistics {
            mean: Data::from_f64(Dtype::F32, &noise(c, mean, 5)).to_f32(),
            var: Data::from_f64(Dtype::F32, &noise(c, 1.5, 6)).to_f32().iter().map(|x| x.abs() + 0.1).collect(),
            num_batches_tracked: Some(3),
        });
        Self {
            name: format!("{shape:?} {dtype} mean {mean} {:?}", plan.view()),
            plan,
            input: Data::from_f64(dtype, &noise(len, mean, 1)),
            weight: parameter(2),
            bias: parameter(3),
            running,
        }
    }

    fn run(&self) -> (Data, Option<RunningStatistics>) {
        let mut output = Data::zeros(self.input.dtype(), self.input.len());
        let mut running = self.running.clone();
        let mut arguments = self.arguments(&mut running);
        execute(&self.plan, None, Some(&self.input), &mut arguments, &mut output).expect("nobody else is asked");
        (output, running)
    }

    fn run_in_place(&self) -> (Data, Option<RunningStatistics>) {
        let mut output = self.input.clone();
        let mut running = self.running.clone();
        execute(&self.plan, None, None, &mut self.arguments(&mut running), &mut output).expect("nobody else is asked");
        (output, running)
    }

    fn arguments<'a>(&'a self, running: &'a mut Option<RunningStatistics>) -> Arguments<'a> {
        Arguments {
            weight: self.weight.as_ref(),
            bias: self.bias.as_ref(),
            running: running.as_mut(),
            ..Default::default()
        }
    }

    fn reference(&self) -> (Vec<f64>, Values) {
        let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect();
        let mut values = Values {
            input: self.input.to_f64(),
            weight: self.weight.as_ref().map(Data::to_f64),
            bias: self.bias.as_ref().map(Data::to_f64),
            running_mean: self.running.as_ref().map_or(vec![], |r| wide(&r.mean)),
            running_var: self.running.as_ref().map_or(vec![], |r| wide(&r.var)),
            num_batches_tracked: self.running.as_ref().and_then(|r| r.num_batches_tracked).unwrap_or(0),
            ..Values::default()
        };
        (reference::execute(&self.plan, &mut values).expect("fits"), values)
    }

    /// Checks output and running estimates, also in place; returns the worst error in units of `u`.
    fn check(&self) -> f64 {
        let (output, running) = self.run();
        let (expected, values) = self.reference();
        let worst = self.check_output(&output, &expected);
        if let Some(running) = &running {
            check_running(&self.name, running, &values);
        }
        let (in_place, also_running) = self.run_in_place();
        assert!(in_place.bytes() == output.bytes(), "{}: in place gives the same bits", self.name);
        assert_eq!(also_running, running, "{}: in place gives the same estimates", self.name);
        worst
    }

    /// `|error| <= 16 u (max |x_hat| |w| + |b|)`, and half a unit of the storage type.
    ///
    /// `x - head`, `- tail`, `* rstd`, `* w` and `+ b` round once each, rstd once more, and the tail's
    /// own rounding is below those: 6 u at most. Folded, slope, offset and their sum's parts round as
    /// often. The f32 sums of squares of a block, of 16 to 32 terms a lane and a tree of five levels,
    /// leave up to 37 u / 2 in rstd at worst, and 2 or 3 in practice.
    fn check_output(&self, output: &Data, expected: &[f64]) -> f64 {
        let u = 2f64.powi(-24);
        let half_unit = match output.dtype() {
            Dtype::F32 => 0.0,
            Dtype::F16 => 2f64.powi(-11),
            Dtype::Bf16 => 2f64.powi(-8),
        };
        let least = if output.dtype() == Dtype::F16 { 2f64.powi(-25) } else { 0.0 };
        let sizes = self.sizes(expected);
        let mut worst = 0f64;
        for (i, ((got, expected), size)) in output.to_f64().iter().zip(expected).zip(sizes).enumerate() {
            if expected.is_nan() {
                assert!(got.is_nan(), "{}: element {i} is {got}, not NaN", self.name);
                continue;
            }
            let error = (got - expected).abs() - half_unit * expected.abs() - least;
            let error = if size > 0.0 { error / (u * size) } else { error };
            assert!(error <= 16.0, "{}: element {i} is {got}, not {expected}: {error} u", self.name);
            worst = worst.max(error);
        }
        worst
    }

    /// The largest `|x_hat|` of the element's group times `|w|`, and `|b|`.
    fn sizes(&self, expected: &[f64]) -> Vec<f64> {
        let view = self.plan.view();
        let of = |data: &Option<Data>, absent| data.as_ref().map_or(vec![absent; expected.len()], Data::to_f64);
        let (weight, bias) = (of(&self.weight, 1.0), of(&self.bias, 0.0));
        let mut largest = vec![0f64; view.statistics()];
        let places: Vec<(usize, usize)> = (0..expected.len())
            .map(|i| {
                let (run, d) = (i / view.d, i % view.d);
                let (a, b, c) = (run / view.c / view.b, run / view.c % view.b, run % view.c);
                (a * view.c + c, if self.weight.is_some() { self.plan.affine().map.index(a, b, c, d) } else { 0 })
            })
            .collect();
        for (y, &(s, p)) in expected.iter().zip(&places) {
            largest[s] = largest[s].max(((y - bias[p]) / weight[p]).abs());
        }
        places.iter().map(|&(s, p)| largest[s] * weight[p].abs() + bias[p].abs()).collect()
    }
}

fn check_running(name: &str, running: &RunningStatistics, values: &Values) {
    let pairs = running.mean.iter().zip(&values.running_mean).chain(running.var.iter().zip(&values.running_var));
    for (got, expected) in pairs {
        assert!((f64::from(*got) - expected).abs() <= 2e-7 * expected.abs().max(0.1), "{name}: {got}, not {expected}");
    }
    assert_eq!(running.num_batches_tracked, Some(values.num_batches_tracked), "{name}: batches are counted");
}

/// The norms whose statistics come from rows and from columns, in every order of axes.
fn cases(dtype: Dtype, mean: f64) -> Vec<Case> {
    use Layout::{ChannelsFirst, ChannelsLast};
    let mut all = Vec::new();
    let mut add = |norm: &dyn Norm, shape: &[usize], parameters: Option<&[usize]>, channels: Option<usize>| {
        all.push(Case::tracked(norm, shape, dtype, mean, parameters, channels));
    };
    for len in ODD {
        add(&LayerNorm::new([len]), &[21, len], Some(&[len]), None);
        add(&LayerNorm::over_axes([1]), &[2, 7, len], Some(&[7]), None);
        add(&LayerNorm::over_axes([0]), &[len, 3], None, None);
    }
    for (groups, shape) in [(5, [3, 15, 1, 1]), (5, [3, 15, 2, 2]), (1, [300, 3, 2, 2])] {
        add(&GroupNorm::new(groups), &shape, Some(&[shape[1]]), None);
    }
    add(&InstanceNorm::new(), &[40, 9, 2, 2], Some(&[9]), None);
    add(&LayerNorm::over_axes([1, 3]), &[2, 3, 5, 4], Some(&[3, 4]), None);
    add(&LayerNorm::over_axes([1, 3]), &[2, 33, 5, 40], Some(&[33, 40]), None);
    add(&LayerNorm::over_axes([1]), &[3, 300, 9, 11], Some(&[300]), None);
    for (layout, shape) in [(ChannelsFirst, [3, 12, 7, 9]), (ChannelsLast, [3, 7, 9, 12])] {
        for groups in [1, 3, 12] {
            add(&GroupNorm::new(groups).layout(layout), &shape, Some(&[12]), None);
        }
        add(&InstanceNorm::new().layout(layout), &shape, Some(&[12]), None);
        add(&BatchNorm::new().layout(layout), &shape, Some(&[12]), Some(12));
        add(&BatchNorm::new().layout(layout).momentum(Momentum::Cumulative), &shape, None, Some(12));
        add(&BatchNorm::new().layout(layout).training(false), &shape, Some(&[12]), Some(12));
    }
    for (layout, shape) in [(ChannelsFirst, [2, 3, 70, 90]), (ChannelsLast, [2, 70, 90, 3])] {
        add(&InstanceNorm::new().layout(layout), &shape, Some(&[3]), None);
        add(&BatchNorm::new().layout(layout), &shape, Some(&[3]), Some(3));
        add(&BatchNorm::new().layout(layout).training(false), &shape, Some(&[3]), Some(3));
    }
    for shape in [[64, 100], [700, 9], [9000, 5], [3, 257]] {
        add(&BatchNorm::new(), &shape, Some(&[shape[1]]), Some(shape[1]));
        add(&BatchNorm::new().training(false), &shape, Some(&[shape[1]]), Some(shape[1]));
    }
    all
}

#[test]
fn norms_agree_with_the_reference() {
    for dtype in DTYPES {
        let mut worst = (0.0, String::new());
        for case in cases(dtype, 0.3) {
            let error = case.check();
            if error > worst.0 {
                worst = (error, case.name);
            }
        }
        println!("{dtype}: worst {worst:?}");
    }
}

#[test]
fn rms_agrees_with_the_reference() {
    for dtype in DTYPES {
        for len in ODD {
            Case::new(&RmsNorm::new([len]), &[4, len], dtype, 0.5, Some(&[len])).check();
            Case::new(&RmsNorm::over_axes([1]), &[2, len, 6], dtype, 0.5, None).check();
        }
    }
}

#[test]
fn instance_norm_tracks_and_uses_running_estimates() {
    for (layout, shape) in [(Layout::ChannelsFirst, [4, 5, 6, 7]), (Layout::ChannelsLast, [4, 6, 7, 5])] {
        for own in [true, false] {
            let norm = InstanceNorm::new().layout(layout).use_input_stats(own);
            let mut case = Case::tracked(&norm, &shape, Dtype::F32, 2.0, Some(&[5]), Some(5));
            case.running.as_mut().expect("it is tracked").num_batches_tracked = Some(3);
            case.check();
        }
    }
}

/// Short runs side by side, more than a task has.
#[test]
fn given_statistics_of_many_short_runs_are_applied_in_stretches() {
    for shape in [[64, 64, 16], [200, 37, 3], [2, 40_000, 1], [1, 3, 20_000]] {
        let norm = InstanceNorm::new().use_input_stats(false);
        Case::tracked(&norm, &shape, Dtype::F32, 2.0, Some(&[shape[1]]), Some(shape[1])).check();
    }
    for shape in [[8, 33, 33, 16], [8, 65, 65, 1]] {
        let moments = [shape[0], shape[1], shape[2], 1];
        let norm = MomentShortcut::new().layout(Layout::ChannelsLast);
        Case::new(&norm, &shape, Dtype::F32, 2.0, Some(&moments)).check();
    }
    for shape in [[300, 9, 7, 1], [3000, 9, 1, 1]] {
        let norm = BatchNorm::new().training(false).layout(Layout::ChannelsLast);
        Case::tracked(&norm, &shape, Dtype::F32, 2.0, Some(&[1]), Some(1)).check();
    }
}

/// Whether variances are infinite or no number does not depend on where an infinity lies.
#[test]
fn the_variance_of_an_infinite_value_is_no_number() {
    for (rows, at) in [(5, 4), (129, 0), (129, 128), (257, 256), (1025, 1024)] {
        let mut case = Case::tracked(&BatchNorm::new(), &[rows, 3], Dtype::F32, 0.0, None, Some(3));
        let mut values = case.input.to_f64();
        values[3 * at + 1] = f64::INFINITY;
        case.input = Data::from_f64(Dtype::F32, &values);
        let var = case.run().1.expect("they are tracked").var;
        assert!(var[1].is_nan() && var[0].is_finite(), "row {at} of {rows}: {var:?}");
    }
}

/// The absolute difference; infinite where one of the two is not finite, so that a NaN is never close.
fn distance(got: f64, want: f64) -> f64 {
    if got.is_finite() && want.is_finite() { (got - want).abs() } else { f64::INFINITY }
}

#[test]
fn large_means_keep_their_digits() {
    for (mean, bound) in [(1e4, 1e-6), (1e6, 1e-5)] {
        for mut case in cases(Dtype::F32, mean) {
            if matches!(case.plan.source(), Source::Running { .. }) {
                continue;
            }
            case.running = None;
            case.plan.source = Source::Input { running: None };
            let (output, expected) = (case.run().0.to_f64(), case.reference().0);
            let largest = expected.iter().fold(0f64, |m, y| m.max(y.abs()));
            let error = output.iter().zip(&expected).fold(0f64, |m, (y, e)| m.max(distance(*y, *e)));
            assert!(error <= bound * largest, "{}: {error} of {largest}", case.name);
        }
    }
}

#[test]
fn long_groups_keep_their_digits() {
    let plain = |view| Plan { view, ..Case::new(&LayerNorm::new([1]), &[1, 1], Dtype::F32, 0.0, None).plan };
    let long = 5_000_000;
    for view in [View::new(1, 1, 1, long), View::new(1, long / 5, 5, 1), View::new(1, 50, 2, long / 100)] {
        let input = Data::from_f64(Dtype::F32, &noise(view.elements(), 1e4, 9));
        let case =
            Case { name: format!("{view:?}"), plan: plain(view), input, weight: None, bias: None, running: None };
        let (output, expected) = (case.run().0.to_f64(), case.reference().0);
        let error = output.iter().zip(&expected).fold(0f64, |m, (y, e)| m.max(distance(*y, *e)));
        println!("{view:?}: {:.2} u of the largest", error / 2f64.powi(-24) / 3.5);
        assert!(error <= 1e-6 * 3.0, "{view:?}: {error}");
    }
}

#[test]
fn constant_groups_are_their_bias() {
    for value in [0.0, 0.1, -3.3e7, 1e-30] {
        for mut case in cases(Dtype::F32, 0.0) {
            if matches!(case.plan.source(), Source::Running { .. }) {
                continue;
            }
            case.input = Data::from_f64(Dtype::F32, &vec![value; case.input.len()]);
            let (output, _) = case.run();
            let map = case.plan.affine().map;
            let view = case.plan.view();
            for (i, y) in output.to_f64().iter().enumerate() {
                let (run, d) = (i / view.d, i % view.d);
                let p = map.index(run / view.c / view.b, run / view.c % view.b, run % view.c, d);
                let bias = case.bias.as_ref().map_or(0.0, |b| b.to_f64()[p]);
                assert!((y - bias).abs() == 0.0, "{} of {value}: element {i} is {y}, not {bias}", case.name);
                if i > 500 {
                    break;
                }
            }
        }
    }
}

#[test]
fn what_is_not_finite_stays_in_its_group() {
    for poison in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for statistic in [Statistic::Centred, Statistic::Uncentred] {
            for view in [
                View::new(9, 1, 1, 300),
                View::new(11, 1, 1, 12),
                View::new(2, 50, 9, 1),
                View::new(1, 3, 4, 200),
                View::new(2, 3, 5, 4),
            ] {
                let mut case = Case::new(&LayerNorm::new([1]), &[1, 1], Dtype::F32, 0.0, None);
                let mut values = noise(view.elements(), 1.0, 4);
                values[view.elements() / 2 + 1] = poison;
                case.name = format!("{poison} in {view:?} {statistic:?}");
                (case.plan.view, case.plan.statistic) = (view, statistic);
                case.input = Data::from_f64(Dtype::F32, &values);
                case.check();
            }
        }
    }
}

/// In however many blocks of rows the batch is summed.
#[test]
fn the_mean_of_an_infinite_value_is_infinite() {
    for (rows, infinity) in
        [5, 65, 300, 1000].into_iter().flat_map(|rows| [(rows, f64::INFINITY), (rows, -f64::INFINITY)])
    {
        let mut case = Case::tracked(&BatchNorm::new(), &[rows, 3], Dtype::F32, 0.0, Some(&[3]), Some(3));
        let mut values = case.input.to_f64();
        values[3 * (rows / 3) + 1] = infinity;
        case.input = Data::from_f64(Dtype::F32, &values);
        let mean = case.run().1.expect("they are tracked").mean;
        assert_eq!(f64::from(mean[1]), infinity, "of {rows} rows");
        assert!(mean[0].is_finite() && mean[2].is_finite(), "its neighbours: {mean:?}");
    }
}

#[test]
fn the_range_of_f32_is_usable() {
    for size in [1e-30, 1e-18, 1e18, 1e19, 1e30, 1e37] {
        for statistic in [Statistic::Centred, Statistic::Uncentred] {
            for view in
                [View::new(3, 1, 1, 1500), View::new(11, 1, 1, 12), View::new(1, 300, 9, 1), View::new(2, 3, 5, 4)]
            {
                let mut case = Case::new(&LayerNorm::new([1]).eps(0.0), &[1, 1], Dtype::F32, 0.0, None);
                let values: Vec<f64> = noise(view.elements(), 0.5, 4).iter().map(|x| x * size).collect();
                case.name = format!("{size} {view:?} {statistic:?}");
                (case.plan.view, case.plan.statistic) = (view, statistic);
                case.input = Data::from_f64(Dtype::F32, &values);
                case.check();
            }
        }
    }
}

#[test]
fn products_of_rstd_and_weight_may_leave_the_range_of_f32() {
    let channels = [9usize];
    let norms: [(Box<dyn Norm>, &[usize]); 3] = [
        (Box::new(BatchNorm::new().eps(0.0)), &[300, 9]),
        (Box::new(BatchNorm::new().eps(0.0)), &[4, 9, 200]),
        (Box::new(InstanceNorm::new().eps(0.0)), &[2, 9, 70]),
    ];
    for (norm, shape) in norms {
        for (size, weight) in [(1e30, 1e-20), (1e-20, 1e25)] {
            let mut case = Case::new(&*norm, shape, Dtype::F32, 0.0, Some(&channels));
            let values: Vec<f64> = noise(case.input.len(), 0.5, 4).iter().map(|x| x * size).collect();
            case.input = Data::from_f64(Dtype::F32, &values);
            // One of many, so that its neighbours are taken at once.
            let mut weights = vec![1.0; 9];
            weights[4] = weight;
            case.weight = Some(Data::from_f64(Dtype::F32, &weights));
            case.bias = Some(Data::from_f64(Dtype::F32, &[0.0; 9]));
            case.name = format!("{shape:?} of {size} times {weight}");
            case.check();
        }
    }
}

#[test]
fn an_empty_batch_counts_and_moves_no_estimate() {
    let case = Case::tracked(&BatchNorm::new(), &[0, 4], Dtype::F32, 0.0, Some(&[4]), Some(4));
    let (output, running) = case.run();
    let counted = case.running.clone().map(|running| RunningStatistics { num_batches_tracked: Some(4), ..running });
    assert!(output.is_empty() && running == counted, "{running:?}");
    let (output, values) = case.reference();
    assert!(output.is_empty() && values.num_batches_tracked == 4, "{values:?}");
}

#[test]
fn parameters_may_be_wider_than_the_input() {
    let spec = |dtype| Spec::new([40], dtype);
    let operands = Operands::new(Spec::new([9, 40], Dtype::F16)).weight(spec(Dtype::F32));
    let plan = LayerNorm::new([40]).lower(&operands).expect("the case is well-formed");
    let weight = Some(Data::from_f64(Dtype::F32, &noise(40, 1.0, 2)));
    let input = Data::from_f64(Dtype::F16, &noise(360, 0.0, 1));
    Case { name: "f32 weight".into(), plan, input, weight, bias: None, running: None }.check();
}
