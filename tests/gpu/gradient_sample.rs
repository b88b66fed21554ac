//! Backward passes with data, what the f64 reference makes of them, and how far from it f32 arithmetic may stray.

use crate::rig::BackwardCall;
use crate::sample::{Sample, distance, entries, noise, place, smallest_step};
use wgpu_norm::gpu::Options;
use wgpu_norm::plan::{GradientArguments, Gradients, Plan};
use wgpu_norm::reference::{self, GradientValues};
use wgpu_norm::{Data, Dtype, Wanted};

/// A sample with gradients that flow into it.
pub(crate) struct GradientSample {
    pub(crate) name: String,
    pub(crate) plan: Plan,
    /// What was normalized: the input, or its sum with the residual.
    pub(crate) input: Data,
    pub(crate) grad_output: Data,
    pub(crate) grad_sum: Option<Data>,
    /// What flows into mean and deviation of each group.
    pub(crate) grad_moments: [Option<Data>; 2],
    /// As a device keeps them: of each statistic the mean, its tail, rstd and variance, then what is mixed.
    pub(crate) statistics: Vec<[f32; 4]>,
    forward: Sample,
    values: GradientValues,
}

/// Gradients by name, each with the bound on the error of its elements.
pub(crate) struct ExpectedGradients {
    all: Vec<(&'static str, Vec<f64>, Vec<f64>)>,
}

impl GradientSample {
    /// The backward pass that follows a forward pass of the sample.
    pub(crate) fn new(sample: &Sample) -> Self {
        let plan = sample.plan.clone();
        let forward = reference::forward(&plan, &mut sample.values()).expect("fits");
        let dtype = plan.dtype();
        let elements = plan.view().elements();
        let grad_output = Data::from_f64(dtype, &noise(11, elements));
        let grad_sum = plan.has_residual().then(|| Data::from_f64(dtype, &noise(12, elements)));
        let own = sample.values();
        let values = GradientValues {
            input: forward.sum.clone(),
            grad_output: grad_output.to_f64(),
            grad_sum: grad_sum.as_ref().map(Data::to_f64),
            statistics: forward.statistics,
            weight: own.weight,
            bias: own.bias,
            extra: own.extra,
            labels: own.labels,
            grad_mean: None,
            grad_std: None,
        };
        Self {
            name: sample.name.clone(),
            input: Data::from_f64(dtype, &forward.sum),
            grad_output,
            grad_sum,
            grad_moments: [None, None],
            statistics: entries(&values.statistics),
            forward: sample.clone(),
            values,
            plan,
        }
    }

    /// The same with gradients that flow into means and deviations.
    pub(crate) fn with_moments(mut self) -> Self {
        let groups = self.plan.view().statistics();
        let inflow = [13, 14].map(|seed| Data::from_f64(self.plan.dtype(), &noise(seed, groups)));
        [self.values.grad_mean, self.values.grad_std] = inflow.each_ref().map(|data| Some(data.to_f64()));
        self.grad_moments = inflow.map(Some);
        self
    }

    /// As the host executes it.
    pub(crate) fn arguments(&self) -> GradientArguments<'_> {
        GradientArguments {
            input: &self.input,
            grad_output: &self.grad_output,
            grad_sum: self.grad_sum.as_ref(),
            statistics: &self.values.statistics,
            weight: self.forward.weight.as_ref(),
            bias: self.forward.bias.as_ref(),
            extra: self.forward.extra.as_ref().map(Option::as_ref),
            labels: self.forward.labels.as_deref(),
            grad_mean: self.grad_moments[0].as_ref(),
            grad_std: self.grad_moments[1].as_ref(),
        }
    }

    /// As a device under test executes it.
    pub(crate) fn call(&self, options: Options, wanted: Wanted, offset: u64) -> BackwardCall<'_> {
        BackwardCall {
            plan: &self.plan,
            options: options.grad_sum(self.grad_sum.is_some()).moments(self.grad_moments[0].is_some()),
            wanted,
            input: self.input.clone(),
            grad_output: self.grad_output.clone(),
            grad_sum: self.grad_sum.clone(),
            statistics: self.statistics.clone(),
            weight: self.forward.weight.clone(),
            bias: self.forward.bias.clone(),
            extra: self.forward.extra.clone(),
            labels: self.forward.labels.clone(),
            grad_moments: self.grad_moments.clone(),
            offset,
        }
    }

    /// Executes the reference. With u the unit roundoff of f32, and of each group G the greatest gradient that
    /// reaches a normalized value and X the greatest such value, the bound on an element of the input's gradient is
    ///
    /// ```text
    /// units * u * rstd * G * (2 + 2 X)  +  half a unit of the storage type
    /// ```
    ///
    /// since what goes through mean and variance is at most G and G X; and that on a parameter's is
    /// `units * u` times the sum of the magnitudes of its terms. An activation adds the error of its slope, which
    /// that of its argument magnifies by 1.2 at most.
    ///
    /// What reaches another's parameters, a threshold, eps or the shares of a mixture is bounded likewise by sums of
    /// magnitudes; what comes by way of a mixture's other statistics by the greatest of all groups.
    pub(crate) fn expected(&self, units: f64) -> ExpectedGradients {
        let got = reference::backward(&self.plan, &self.values).expect("fits");
        let (plan, v) = (&self.plan, &self.values);
        let (view, map, u) = (plan.view(), plan.affine().map, Dtype::F32.unit_roundoff());
        let dtype = plan.dtype();
        let active = f64::from(u8::from(plan.epilogue().activation.is_some()));
        let rounding = if plan.rounds_normalized() { 2.0 * dtype.unit_roundoff() } else { 0.0 };
        let magnitudes = self.forward.magnitudes();
        let mut largest = vec![(0f64, 0f64); view.statistics()];
        let mut parameters = ParameterBounds::new(&self.forward);
        // Error of an affine map's gradient, as a multiple of the upstream gradient; 1.13 bounds the slope.
        for (i, x) in v.input.iter().enumerate() {
            let (a, b, c, d) = place(view, i);
            let (s, p) = (a * view.c + c, map.index(a, b, c, d));
            let x_hat = ((x - v.statistics.mean[s]) * v.statistics.rstd[s]).abs();
            let (weight, bias) = magnitudes[p];
            let y = x_hat * weight + bias;
            let g = v.grad_output[i].abs() * (1.0 + 0.13 * active);
            let slope_error = active * 1.2 * (units * u * (y + 1.0) + rounding * x_hat * weight);
            let of_affine = g * (units * u + slope_error);
            let slot = &mut largest[s];
            *slot = (slot.0.max(of_affine * weight), slot.1.max(x_hat));
            parameters.add(p, of_affine * x_hat + g * rounding * x_hat, of_affine);
            parameters.add_group(of_affine * weight, x_hat, v.statistics.rstd[s]);
        }
        if plan.source().mixing().is_some() {
            let worst = largest.iter().fold((0f64, 0f64), |m, l| (m.0.max(l.0), m.1.max(l.1)));
            largest.fill((4.0 * worst.0, worst.1));
        }
        let bound = |got: f64, dtype: Dtype, arithmetic: f64| {
            let stored = if dtype == Dtype::F32 { 0.0 } else { dtype.unit_roundoff() };
            arithmetic + stored * (got.abs() + arithmetic) + smallest_step(dtype)
        };
        let of_input = got.input.iter().enumerate().map(|(i, &g)| {
            let (a, _, c, _) = place(view, i);
            let s = a * view.c + c;
            let (gradient, x_hat) = largest[s];
            let inflow = v.grad_sum.as_ref().map_or(0.0, |g| 2.0 * u * g[i].abs());
            let moments = [&v.grad_mean, &v.grad_std].map(|g| g.as_ref().map_or(0.0, |g| units * u * g[s].abs()));
            let through = moments[0] + moments[1] * x_hat;
            bound(g, dtype, v.statistics.rstd[s] * gradient * (2.0 + 2.0 * x_hat) + inflow + through)
        });
        let mut all = vec![("grad_input", got.input.clone(), of_input.collect::<Vec<f64>>())];
        let bounds = parameters.all();
        let learned = [got.weight, got.bias].into_iter().chain(got.extra.into_array());
        for ((got, (name, data)), errors) in learned.zip(self.forward.learned()).zip(bounds) {
            let (Some(got), Some(data)) = (got, data) else { continue };
            let bounds = got.iter().zip(errors).map(|(&g, e)| bound(g, data.dtype(), e)).collect();
            all.push((name, got, bounds));
        }
        ExpectedGradients { all }
    }
}

/// Sums of the magnitudes of the terms of each parameter's gradient, each with its error.
struct ParameterBounds<'a> {
    sample: &'a Sample,
    /// The greatest factor of a class, and the greatest shared factor and summand.
    factors: [f64; 3],
    weight: Vec<f64>,
    bias: Vec<f64>,
    class_weight: Vec<f64>,
    class_bias: Vec<f64>,
    tau: Vec<f64>,
    eps: f64,
    shares: f64,
}

impl<'a> ParameterBounds<'a> {
    fn new(sample: &'a Sample) -> Self {
        let plan = &sample.plan;
        let (len, extra) = (plan.parameter_len().max(plan.affine().map.len), plan.extra_len());
        let zeros = |len: usize| vec![0.0; len];
        let factors = sample.factors();
        Self {
            sample,
            factors,
            weight: zeros(len),
            bias: zeros(len),
            class_weight: zeros(extra.class_weight),
            class_bias: zeros(extra.class_bias),
            tau: zeros(extra.tau),
            eps: 0.0,
            shares: 0.0,
        }
    }

    /// Adds an element with this parameter of the affine map: what reaches its factor, and its summand.
    fn add(&mut self, p: usize, product: f64, gradient: f64) {
        let Some(derivation) = self.sample.plan.derivation() else {
            self.weight[p] += product;
            self.bias[p] += gradient;
            return;
        };
        let (row, column) = (p / derivation.width, p % derivation.width / derivation.repeat);
        let label = self.sample.labels.as_ref().map_or(0, |labels| labels[row]);
        let cell = usize::try_from(label).expect("in the table") * derivation.columns() + column;
        let [class, weight, bias] = self.factors;
        match derivation.tables {
            Some(tables) if tables.are_parameters => {
                self.weight[cell] += product;
                self.bias[cell] += gradient;
            }
            Some(_) => {
                self.class_weight[cell] += weight * product + bias * gradient;
                self.class_bias[cell] += gradient;
                self.weight[column] += class * product;
                self.bias[column] += class * gradient;
            }
            None => {
                self.weight[column] += product;
                self.bias[column] += gradient;
            }
        }
        if let Some(tau) = self.tau.get_mut(column) {
            *tau += gradient;
        }
    }

    /// Adds what reaches a group's statistics from an element.
    fn add_group(&mut self, gradient: f64, x_hat: f64, rstd: f64) {
        self.eps += rstd * rstd * gradient * x_hat;
        self.shares += gradient * (1.0 + x_hat) * (1.0 + x_hat);
    }

    /// In the order of the parameters: weight, bias, and what only some normalizations learn.
    fn all(self) -> [Vec<f64>; 8] {
        let shares = vec![self.shares; 3];
        let of_eps = vec![self.eps];
        [self.weight, self.bias, self.class_weight, self.class_bias, self.tau, of_eps, shares.clone(), shares]
    }
}

impl ExpectedGradients {
    /// The worst error of what was wanted as a share of its bound, or what does not match.
    pub(crate) fn worst(&self, wanted: Wanted, got: &Gradients) -> Result<f64, String> {
        let is_wanted = |name| match name {
            "grad_input" => wanted.input,
            "weight" => wanted.weight,
            "bias" => wanted.bias,
            _ => wanted.extra,
        };
        let mut worst = 0f64;
        let given = [("grad_input", &got.input), ("weight", &got.weight), ("bias", &got.bias)];
        for (name, got) in given.into_iter().chain(got.extra.as_ref().named()) {
            let expected = self.all.iter().find(|(own, ..)| *own == name);
            let Some(got) = got else {
                match expected.filter(|_| is_wanted(name)) {
                    Some(_) => return Err(format!("{name} is wanted, and there is none")),
                    None => continue,
                }
            };
            let (_, want, bounds) = expected.ok_or_else(|| format!("{name} of nothing"))?;
            let got = got.to_f64();
            if got.len() != want.len() {
                return Err(format!("{name}: {} elements, expected {}", got.len(), want.len()));
            }
            for (i, ((&got, &want), &bound)) in got.iter().zip(want).zip(bounds).enumerate() {
                let error = distance(got, want);
                let share = if error == 0.0 { 0.0 } else { error / bound };
                if share.is_nan() || share > 1.0 {
                    return Err(format!("{name}[{i}]: got {got}, expected {want}, {share:.2} times the bound"));
                }
                worst = worst.max(share);
            }
        }
        Ok(worst)
    }
}
