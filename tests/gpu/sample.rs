//! Plans with data, what the f64 reference makes of them, and how far from it f32 arithmetic may stray.

use wgpu_norm::norm::{Norm, Operands};
use wgpu_norm::plan::Plan;
use wgpu_norm::reference::{self, Values};
use wgpu_norm::{Data, Dtype, RunningStatistics, Spec};

/// A plan and the values that it is executed on, as stored.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) plan: Plan,
    pub(crate) input: Data,
    pub(crate) weight: Option<Data>,
    pub(crate) bias: Option<Data>,
    pub(crate) running: Option<RunningStatistics>,
}

/// What the reference makes of a sample, and the bound on each element's error.
pub(crate) struct Expected {
    pub(crate) output: Vec<f64>,
    pub(crate) bound: Vec<f64>,
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
        let plan = norm.lower(operands).expect("the operands fit");
        let input: Vec<f64> = noise(1, plan.view().elements()).into_iter().map(|x| x + offset).collect();
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
            plan,
        }
    }

    fn values(&self) -> Values {
        let wide = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect();
        Values {
            input: self.input.to_f64(),
            weight: self.weight.as_ref().map(Data::to_f64),
            bias: self.bias.as_ref().map(Data::to_f64),
            running_mean: self.running.as_ref().map(|r| wide(&r.mean)).unwrap_or_default(),
            running_var: self.running.as_ref().map(|r| wide(&r.var)).unwrap_or_default(),
            num_batches_tracked: self.running.as_ref().and_then(|r| r.num_batches_tracked).unwrap_or(0),
        }
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
        let output = reference::execute(&self.plan, &mut values).expect("fits");
        let bare = Values { weight: None, bias: None, ..self.values() };
        let normalized = reference::execute(&self.plan, &mut bare.clone()).expect("fits");
        let view = self.plan.view();
        let mut largest = vec![0f64; view.statistics()];
        let place = |i: usize| {
            let (d, c, b) = (i % view.d, i / view.d % view.c, i / view.d / view.c % view.b);
            (i / view.d / view.c / view.b, b, c, d)
        };
        for (i, x) in normalized.iter().enumerate() {
            let (a, _, c, _) = place(i);
            let slot = &mut largest[a * view.c + c];
            *slot = slot.max(x.abs());
        }
        let u = Dtype::F32.unit_roundoff();
        let (dtype, map) = (self.plan.dtype(), self.plan.affine().map);
        let bound = (0..output.len())
            .map(|i| {
                let (a, b, c, d) = place(i);
                let p = map.index(a, b, c, d);
                let weight = values.weight.as_ref().map_or(1.0, |w| w[p].abs());
                let bias = values.bias.as_ref().map_or(0.0, |v| v[p].abs());
                let arithmetic = units * u * (largest[a * view.c + c] * weight + bias);
                let storage =
                    if dtype == Dtype::F32 { 0.0 } else { dtype.unit_roundoff() * (output[i].abs() + arithmetic) };
                arithmetic + storage + smallest_step(dtype)
            })
            .collect();
        let running = self.running.as_ref().map(|r| RunningStatistics {
            mean: values.running_mean.iter().map(|&x| single(x)).collect(),
            var: values.running_var.iter().map(|&x| single(x)).collect(),
            num_batches_tracked: r.num_batches_tracked.map(|_| values.num_batches_tracked),
        });
        Expected { output, bound, running }
    }
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
fn smallest_step(dtype: Dtype) -> f64 {
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
        let expected = Expected { output: vec![want], bound: vec![f64::INFINITY], running: None };
        assert!(expected.worst(&Data::from_f64(Dtype::F32, &[got])).is_err(), "{got} for {want}");
    }
    assert_eq!((distance(f64::NAN, f64::NAN), distance(f64::INFINITY, f64::INFINITY)), (0.0, 0.0));
}
