//! Plans with data, what the f64 reference makes of them, and how far from it f32 arithmetic may stray.

use crate::rig::{Call, Outcome};
use wgpu_norm::gpu::Options;
use wgpu_norm::norm::{Norm, Operands};
use wgpu_norm::plan::{Arguments, Extra, Plan, View};
use wgpu_norm::reference::{self, Forward, Values};
use wgpu_norm::{Data, Dtype, Engine, RunningStatistics, Spec, Statistics};

/// A plan and the values that it is executed on, as stored.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) plan: Plan,
    pub(crate) input: Data,
    pub(crate) weight: Option<Data>,
    pub(crate) bias: Option<Data>,
    pub(crate) running: Option<RunningStatistics>,
    pub(crate) residual: Option<Data>,
    pub(crate) extra: Extra<Option<Data>>,
    pub(crate) labels: Option<Vec<i64>>,
}

/// What the reference makes of a sample, and the bound on each element's error.
pub(crate) struct Expected {
    pub(crate) output: Vec<f64>,
    pub(crate) bound: Vec<f64>,
    pub(crate) sum: Vec<f64>,
    pub(crate) statistics: Statistics,
    pub(crate) running: Option<RunningStatistics>,
}

/// A deterministic, irregular sequence, roughly normal: mean 0, deviation 1.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    // The sum of four uniforms has variance 1/3.
    (0..len).map(|_| (uniform() + uniform() + uniform() + uniform() - 2.0) * 3f64.sqrt()).collect()
}

impl Sample {
    /// A sample with noise everywhere; `offset` is added to the input.
    pub(crate) fn new(norm: &dyn Norm, operands: &Operands, offset: f64) -> Self {
        Self::with_deviation(norm, operands, offset, 1.0)
    }

    /// The same, of an input with this deviation: at 1 a forgotten rstd would not show.
    pub(crate) fn with_deviation(norm: &dyn Norm, operands: &Operands, offset: f64, deviation: f64) -> Self {
        Self::seeded(norm, operands, (offset, deviation), 0)
    }

    /// The same with other values for each seed.
    pub(crate) fn seeded(norm: &dyn Norm, operands: &Operands, (offset, deviation): (f64, f64), seed: u64) -> Self {
        let noise = |own: u64, len| noise(own + 16 * seed, len);
        let plan = norm.lower(operands).expect("the operands fit");
        let input: Vec<f64> = noise(1, plan.view().elements()).into_iter().map(|x| x * deviation + offset).collect();
        let parameter = |seed, spec: &Option<Spec>| {
            spec.as_ref().map(|s| Data::from_f64(s.dtype, &noise(seed, s.shape.iter().product())))
        };
        let running = operands.running.map(|r| RunningStatistics {
            mean: noise(4, r.mean).into_iter().map(|x| single(x + offset)).collect(),
            var: noise(5, r.var).into_iter().map(|x| single(x * x + 0.5)).collect(),
            num_batches_tracked: r.counter.then_some(3),
        });
        Self {
            name: format!("{:?} {} {:?}", plan.view(), plan.dtype(), operands.input.shape),
            input: Data::from_f64(operands.input.dtype, &input),
            weight: parameter(2, &operands.weight),
            bias: parameter(3, &operands.bias),
            running,
            residual: operands
                .residual
                .as_ref()
                .map(|spec| Data::from_f64(spec.dtype, &noise(6, plan.view().elements()))),
            extra: Extra::from([7, 8, 9, 10, 11, 12])
                .zip(operands.extra.as_ref())
                .map(|(seed, spec)| parameter(seed, spec)),
            labels: plan.labels().map(|samples| labels(samples, &plan)),
            plan,
        }
    }

    /// What is learned, by name.
    pub(crate) fn learned(&self) -> impl Iterator<Item = (&'static str, Option<&Data>)> {
        let own = [("weight", self.weight.as_ref()), ("bias", self.bias.as_ref())];
        own.into_iter().chain(self.extra.as_ref().map(Option::as_ref).named())
    }

    /// As a device under test executes it.
    pub(crate) fn call(&self, options: Options, offset: u64) -> Call<'_> {
        Call {
            weight: self.weight.clone(),
            bias: self.bias.clone(),
            running: self.running.clone(),
            residual: self.residual.clone(),
            extra: self.extra.clone(),
            labels: self.labels.clone(),
            offset,
            ..Call::new(&self.plan, options, self.input.clone())
        }
    }

    /// Executes it on an engine; what that returns in f64 is as a device keeps it.
    pub(crate) fn run_on(&self, engine: &Engine, in_place: bool) -> Outcome {
        let zeros = || Data::zeros(self.plan.dtype(), self.input.len());
        let mut output = if in_place { self.input.clone() } else { zeros() };
        let (mut running, mut statistics) = (self.running.clone(), Statistics::default());
        let mut sum = self.residual.as_ref().map(|_| zeros());
        let mut arguments = Arguments {
            weight: self.weight.as_ref(),
            bias: self.bias.as_ref(),
            running: running.as_mut(),
            residual: self.residual.as_ref(),
            sum: sum.as_mut(),
            statistics: Some(&mut statistics),
            extra: self.extra.as_ref().map(Option::as_ref),
            labels: self.labels.as_deref(),
        };
        let input = (!in_place).then_some(&self.input);
        pollster::block_on(engine.execute(&self.plan, input, &mut arguments, &mut output)).expect("the arguments fit");
        Outcome { output, running, sum, statistics: entries(&statistics), moments: None, flag: 0 }
    }

    pub(crate) fn values(&self) -> Values {
        let wide = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect();
        Values {
            input: self.input.to_f64(),
            weight: self.weight.as_ref().map(Data::to_f64),
            bias: self.bias.as_ref().map(Data::to_f64),
            running_mean: self.running.as_ref().map(|r| wide(&r.mean)).unwrap_or_default(),
            running_var: self.running.as_ref().map(|r| wide(&r.var)).unwrap_or_default(),
            num_batches_tracked: self.running.as_ref().and_then(|r| r.num_batches_tracked).unwrap_or(0),
            residual: self.residual.as_ref().map(Data::to_f64),
            extra: self.extra.as_ref().map(|data| data.as_ref().map(Data::to_f64)),
            labels: self.labels.clone().unwrap_or_default(),
        }
    }

    /// The magnitudes of the factor and the summand of each parameter of the affine map; where these are not the
    /// caller's own, the greatest that they can be.
    pub(crate) fn magnitudes(&self) -> Vec<(f64, f64)> {
        let len = self.plan.affine().map.len.max(1);
        let offset = if self.plan.epilogue().zero_centred_weight && self.plan.has_weight() { 1.0 } else { 0.0 };
        if self.plan.derivation().is_none() {
            let all = |data: &Option<Data>, absent| data.as_ref().map_or_else(|| vec![absent; len], Data::to_f64);
            let pairs = all(&self.weight, 1.0).into_iter().zip(all(&self.bias, 0.0));
            return pairs.map(|(weight, bias)| (weight.abs() + offset, bias.abs())).collect();
        }
        let [class, weight, bias] = self.factors();
        let bias = bias * class + largest(&self.extra.class_bias, 0.0) + largest(&self.extra.tau, 0.0);
        vec![((weight + offset) * class, bias); len]
    }

    /// Whether some value lies so close to its threshold that f32 may see it on the other side.
    pub(crate) fn is_near_a_threshold(&self) -> bool {
        let Some(tau) = self.extra.tau.as_ref().map(Data::to_f64) else { return false };
        let forward = reference::forward(&self.plan, &mut self.values()).expect("fits");
        let (view, map) = (self.plan.view(), self.plan.affine().map);
        let offset = if self.plan.epilogue().zero_centred_weight { 1.0 } else { 0.0 };
        let (weight, bias) = (self.weight.as_ref().map(Data::to_f64), self.bias.as_ref().map(Data::to_f64));
        let rounding = if self.plan.rounds_normalized() { 2.0 * self.plan.dtype().unit_roundoff() } else { 0.0 };
        forward.sum.iter().enumerate().any(|(i, x)| {
            let (a, b, c, d) = place(view, i);
            let (s, p) = (a * view.c + c, map.index(a, b, c, d));
            let normalized = (x - forward.statistics.mean[s]) * forward.statistics.rstd[s];
            let scaled = normalized * weight.as_ref().map_or(1.0, |w| w[p] + offset);
            let y = scaled + bias.as_ref().map_or(0.0, |b| b[p]);
            (y - tau[p]).abs() < (1e-5 + rounding) * (scaled.abs() + 1.0)
        })
    }

    /// The greatest factor of a class, and the greatest shared factor and summand.
    pub(crate) fn factors(&self) -> [f64; 3] {
        [largest(&self.extra.class_weight, 1.0), largest(&self.weight, 1.0), largest(&self.bias, 0.0)]
    }

    /// The greatest magnitude of a normalized value in each group, before weight, bias and activation.
    fn largest_normalized(&self, forward: &Forward) -> Vec<f64> {
        let view = self.plan.view();
        let mut largest = vec![0f64; view.statistics()];
        for (i, x) in forward.sum.iter().enumerate() {
            let (a, _, c, _) = place(view, i);
            let s = a * view.c + c;
            let normalized = ((x - forward.statistics.mean[s]) * forward.statistics.rstd[s]).abs();
            largest[s] = largest[s].max(normalized);
        }
        largest
    }

    /// Executes the reference. The bound on an element is
    ///
    /// ```text
    /// units * u * (largest |x_hat| of its group * |weight| + |bias|)  +  half a unit of the storage type
    /// ```
    ///
    /// with u the unit roundoff of f32. The head of a group is one of its elements, so taking it away costs
    /// at most u times the distance of two elements, which is what the largest |x_hat| stands for; mean,
    /// rstd and the affine map add a few roundings each. Nothing grows with a common offset.
    pub(crate) fn expected(&self, units: f64) -> Expected {
        let mut values = self.values();
        let forward = reference::forward(&self.plan, &mut values).expect("fits");
        let view = self.plan.view();
        let largest = self.largest_normalized(&forward);
        let u = Dtype::F32.unit_roundoff();
        let (dtype, map, epilogue) = (self.plan.dtype(), self.plan.affine().map, self.plan.epilogue());
        let magnitudes = self.magnitudes();
        // Rounding a value that lies between two stored ones may go either way.
        let rounding = if self.plan.rounds_normalized() { 2.0 * dtype.unit_roundoff() } else { 0.0 };
        // No activation is steeper than 1.13, and computing it costs a few units of the result.
        let steepness = if epilogue.activation.is_some() { 1.5 } else { 1.0 };
        let bound = (0..forward.output.len())
            .map(|i| {
                let (a, b, c, d) = place(view, i);
                let p = map.index(a, b, c, d);
                let (weight, bias) = magnitudes[p];
                let largest = largest[a * view.c + c];
                let arithmetic = steepness * (units * u * (largest * weight + bias) + rounding * largest * weight);
                let stored = if dtype == Dtype::F32 { 0.0 } else { dtype.unit_roundoff() };
                arithmetic + stored * (forward.output[i].abs() + arithmetic) + smallest_step(dtype)
            })
            .collect();
        let running = self.running.as_ref().map(|r| RunningStatistics {
            mean: values.running_mean.iter().map(|&x| single(x)).collect(),
            var: values.running_var.iter().map(|&x| single(x)).collect(),
            num_batches_tracked: r.num_batches_tracked.map(|_| values.num_batches_tracked),
        });
        let Forward { output, sum, statistics } = forward;
        Expected { output, bound, sum, statistics, running }
    }
}

/// The greatest magnitude.
fn largest(data: &Option<Data>, absent: f64) -> f64 {
    data.as_ref().map_or(absent, |data| data.to_f64().iter().fold(0f64, |m, x| m.max(x.abs())))
}

/// Labels of which each class but the last occurs, where there are enough samples.
fn labels(samples: usize, plan: &Plan) -> Vec<i64> {
    let classes = plan.derivation().and_then(|d| d.tables).map_or(1, |tables| tables.classes);
    let picked = classes.saturating_sub(1).max(1);
    (0..samples).map(|n| i64::try_from(n * 7 % picked).expect("small")).collect()
}

/// As a device keeps them: of each statistic the mean, its tail, rstd and variance, then what is mixed.
pub(crate) fn entries(statistics: &Statistics) -> Vec<[f32; 4]> {
    let entry = |mean: f64, rstd: f64, var: f64| {
        let head = single(mean);
        [head, single(mean - f64::from(head)), single(rstd), single(var)]
    };
    let own = statistics.mean.iter().zip(&statistics.rstd).map(|(&mean, &rstd)| entry(mean, rstd, 0.0));
    let sources = statistics.sources.mean.iter().zip(&statistics.sources.var);
    own.chain(sources.map(|(&mean, &var)| entry(mean, 0.0, var))).collect()
}

/// The indices of an element of a view.
pub(crate) fn place(view: View, i: usize) -> (usize, usize, usize, usize) {
    let (d, c, b) = (i % view.d, i / view.d % view.c, i / view.d / view.c % view.b);
    (i / view.d / view.c / view.b, b, c, d)
}

/// As running estimates are stored.
#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the purpose")]
pub(crate) fn single(x: f64) -> f32 {
    x as f32
}

/// The absolute difference; infinite where one is NaN or infinite and the other is not the same. Never NaN, which
/// `f64::max` and comparisons would let pass.
pub(crate) fn distance(got: f64, want: f64) -> f64 {
    if got == want || (got.is_nan() && want.is_nan()) {
        0.0
    } else if got.is_finite() && want.is_finite() {
        (got - want).abs()
    } else {
        f64::INFINITY
    }
}

/// Half the distance between subnormals, which rounding may cost near zero.
pub(crate) fn smallest_step(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F32 => 2f64.powi(-126),
        Dtype::F16 => 2f64.powi(-25),
        Dtype::Bf16 => 2f64.powi(-126),
    }
}

impl Expected {
    /// The worst error as a share of its bound, or what does not match.
    pub(crate) fn worst(&self, output: &Data) -> Result<f64, String> {
        let got = output.to_f64();
        if got.len() != self.output.len() {
            return Err(format!("{} elements, expected {}", got.len(), self.output.len()));
        }
        let mut worst = 0f64;
        for (i, ((&got, &want), &bound)) in got.iter().zip(&self.output).zip(&self.bound).enumerate() {
            let error = distance(got, want);
            let share = if error == 0.0 { 0.0 } else { error / bound };
            if share.is_nan() || share > 1.0 {
                return Err(format!("element {i}: got {got}, expected {want}, {share:.2} times the bound"));
            }
            worst = worst.max(share);
        }
        Ok(worst)
    }

    /// The sum of input and residual is rounded once, so it has to be the same to the bit.
    pub(crate) fn check_sum(&self, sum: Option<&Data>) -> Result<(), String> {
        let Some(sum) = sum else { return Ok(()) };
        match sum.to_f64().iter().zip(&self.sum).position(|(got, want)| got != want) {
            Some(i) => Err(format!("sum[{i}]: got {}, expected {}", sum.to_f64()[i], self.sum[i])),
            None => Ok(()),
        }
    }

    /// Mean and rstd to some units: the mean in deviations, since a group that lies far out has no smaller one.
    pub(crate) fn check_statistics(&self, got: &[[f32; 4]]) -> Result<(), String> {
        let want = self.statistics.mean.iter().zip(&self.statistics.rstd);
        let (got, sources) = got.split_at(self.statistics.mean.len().min(got.len()));
        for (i, (entry, (mean, rstd))) in got.iter().zip(want).enumerate() {
            let [head, tail, got_rstd, _] = entry.map(f64::from);
            let of_mean = distance(head + tail, *mean) * rstd;
            let of_rstd = distance(got_rstd, *rstd) / rstd;
            if of_mean > 2e-6 || of_rstd > 2e-6 {
                return Err(format!("statistics[{i}]: got {entry:?}, expected {mean} and {rstd}"));
            }
        }
        let want = &self.statistics.sources;
        for (i, (entry, (mean, var))) in sources.iter().zip(want.mean.iter().zip(&want.var)).enumerate() {
            let [head, tail, _, got_var] = entry.map(f64::from);
            if distance(head + tail, *mean) > 2e-6 * (var.sqrt() + 1e-6) || distance(got_var, *var) > 4e-6 * var {
                return Err(format!("what is mixed[{i}]: got {entry:?}, expected {mean} and {var}"));
            }
        }
        let lengths = (self.statistics.mean.len(), want.mean.len());
        if (got.len(), sources.len()) == lengths { Ok(()) } else { Err(format!("{} statistics", got.len())) }
    }

    /// Mean and deviation as they are stored: rounded once, of f32 values that are off by some units.
    pub(crate) fn check_moments(&self, dtype: Dtype, got: Option<&[Data; 2]>) -> Result<(), String> {
        let Some([mean, std]) = got else { return Ok(()) };
        let u = 2.0 * dtype.unit_roundoff() + 4e-6;
        let want = self.statistics.mean.iter().zip(&self.statistics.rstd);
        for (i, ((mean, std), (want_mean, rstd))) in mean.to_f64().iter().zip(std.to_f64()).zip(want).enumerate() {
            let of_mean = distance(*mean, *want_mean) / (want_mean.abs() + 1.0 / rstd);
            let of_std = distance(std, 1.0 / rstd) * rstd;
            if of_mean > u || of_std > u {
                return Err(format!("moments[{i}]: got {mean} and {std}, expected {want_mean} and {}", 1.0 / rstd));
            }
        }
        Ok(())
    }

    /// The worst relative error of the running estimates, or what does not match.
    pub(crate) fn worst_running(&self, got: Option<&RunningStatistics>) -> Result<f64, String> {
        let (Some(want), Some(got)) = (&self.running, got) else {
            return if self.running.is_some() { Err("running estimates are missing".into()) } else { Ok(0.0) };
        };
        if got.num_batches_tracked != want.num_batches_tracked {
            return Err(format!("counter {:?}, expected {:?}", got.num_batches_tracked, want.num_batches_tracked));
        }
        let pairs = got.mean.iter().zip(&want.mean).chain(got.var.iter().zip(&want.var));
        let relative = |(&got, &want): (&f32, &f32)| distance(got.into(), want.into()) / f64::from(want.abs().max(1.0));
        let worst = pairs.map(relative).fold(0.0, f64::max);
        if worst > 1e-5 { Err(format!("running estimates off by {worst:.1e}")) } else { Ok(worst) }
    }
}

#[test]
fn a_nan_or_an_infinity_is_close_to_nothing_else() {
    for (got, want) in [(f64::NAN, 1.0), (1.0, f64::NAN), (f64::INFINITY, 1.0), (1.0, f64::INFINITY)] {
        assert_eq!(distance(got, want), f64::INFINITY, "{got} and {want}");
        let (sum, statistics) = (Vec::new(), Statistics::default());
        let expected = Expected { output: vec![want], bound: vec![f64::INFINITY], sum, statistics, running: None };
        assert!(expected.worst(&Data::from_f64(Dtype::F32, &[got])).is_err(), "{got} for {want}");
    }
    assert_eq!((distance(f64::NAN, f64::NAN), distance(f64::INFINITY, f64::INFINITY)), (0.0, 0.0));
}
