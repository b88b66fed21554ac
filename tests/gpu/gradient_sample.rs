//! Backward passes with data, what the f64 reference makes of them, and how far from it f32 arithmetic may stray.

use crate::sample::{Sample, distance, noise, place, smallest_step};
use wgpu_norm::plan::{GradientArguments, Gradients, Plan};
use wgpu_norm::reference::{self, GradientValues};
use wgpu_norm::{Data, Dtype};

/// A sample with gradients that flow into it.
pub(crate) struct GradientSample {
    pub(crate) name: String,
    pub(crate) plan: Plan,
    /// What was normalized: the input, or its sum with the residual.
    pub(crate) input: Data,
    pub(crate) weight: Option<Data>,
    pub(crate) bias: Option<Data>,
    pub(crate) grad_output: Data,
    pub(crate) grad_sum: Option<Data>,
    /// As a device keeps them: of each statistic the mean, its tail, rstd and 0.
    pub(crate) statistics: Vec<[f32; 4]>,
    values: GradientValues,
}

/// Gradients, and the bound on the error of each of their elements.
pub(crate) struct ExpectedGradients {
    input: (Vec<f64>, Vec<f64>),
    weight: Option<(Vec<f64>, Vec<f64>)>,
    bias: Option<(Vec<f64>, Vec<f64>)>,
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
        #[expect(clippy::cast_possible_truncation, reason = "as a device keeps them")]
        let kept =
            |(mean, rstd): (&f64, &f64)| [*mean as f32, (mean - f64::from(*mean as f32)) as f32, *rstd as f32, 0.0];
        let statistics = forward.statistics.mean.iter().zip(&forward.statistics.rstd).map(kept).collect();
        let values = GradientValues {
            input: forward.sum.clone(),
            grad_output: grad_output.to_f64(),
            grad_sum: grad_sum.as_ref().map(Data::to_f64),
            statistics: forward.statistics,
            weight: sample.weight.as_ref().map(Data::to_f64),
            bias: sample.bias.as_ref().map(Data::to_f64),
        };
        Self {
            name: sample.name.clone(),
            input: Data::from_f64(dtype, &forward.sum),
            weight: sample.weight.clone(),
            bias: sample.bias.clone(),
            grad_output,
            grad_sum,
            statistics,
            values,
            plan,
        }
    }

    /// As the host executes it.
    pub(crate) fn arguments(&self) -> GradientArguments<'_> {
        GradientArguments {
            input: &self.input,
            grad_output: &self.grad_output,
            grad_sum: self.grad_sum.as_ref(),
            statistics: &self.values.statistics,
            weight: self.weight.as_ref(),
            bias: self.bias.as_ref(),
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
    pub(crate) fn expected(&self, units: f64) -> ExpectedGradients {
        let got = reference::backward(&self.plan, &self.values).expect("fits");
        let (plan, v) = (&self.plan, &self.values);
        let (view, map, u) = (plan.view(), plan.affine().map, Dtype::F32.unit_roundoff());
        let dtype = plan.dtype();
        let active = f64::from(u8::from(plan.epilogue().activation.is_some()));
        let offset = if plan.epilogue().zero_centred_weight { 1.0 } else { 0.0 };
        let rounding = if plan.rounds_normalized() { 2.0 * dtype.unit_roundoff() } else { 0.0 };
        let mut largest = vec![(0f64, 0f64); view.statistics()];
        let mut of_weight = vec![0f64; map.len];
        let mut of_bias = vec![0f64; map.len];
        // Error of an affine map's gradient, as a multiple of the upstream gradient; 1.13 bounds the slope.
        for (i, x) in v.input.iter().enumerate() {
            let (a, b, c, d) = place(view, i);
            let (s, p) = (a * view.c + c, map.index(a, b, c, d));
            let x_hat = ((x - v.statistics.mean[s]) * v.statistics.rstd[s]).abs();
            let weight = v.weight.as_ref().map_or(1.0, |w| w[p].abs() + offset);
            let y = x_hat * weight + v.bias.as_ref().map_or(0.0, |b| b[p].abs());
            let g = v.grad_output[i].abs() * (1.0 + 0.13 * active);
            let slope_error = active * 1.2 * (units * u * (y + 1.0) + rounding * x_hat * weight);
            let of_affine = g * (units * u + slope_error);
            let slot = &mut largest[s];
            *slot = (slot.0.max(of_affine * weight), slot.1.max(x_hat));
            of_weight[p] += of_affine * x_hat + g * rounding * x_hat;
            of_bias[p] += of_affine;
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
            bound(g, dtype, v.statistics.rstd[s] * gradient * (2.0 + 2.0 * x_hat) + inflow)
        });
        let of_input = of_input.collect();
        let parameter = |got: Option<Vec<f64>>, data: &Option<Data>, errors: Vec<f64>| {
            let (got, data) = (got?, data.as_ref()?);
            let bounds = got.iter().zip(errors).map(|(&g, e)| bound(g, data.dtype(), e)).collect();
            Some((got, bounds))
        };
        ExpectedGradients {
            weight: parameter(got.weight, &self.weight, of_weight),
            bias: parameter(got.bias, &self.bias, of_bias),
            input: (got.input, of_input),
        }
    }
}

impl ExpectedGradients {
    /// The worst error as a share of its bound, or what does not match.
    pub(crate) fn worst(&self, got: &Gradients) -> Result<f64, String> {
        let mut worst = 0f64;
        let pairs = [
            ("grad_input", Some(&self.input), &got.input),
            ("grad_weight", self.weight.as_ref(), &got.weight),
            ("grad_bias", self.bias.as_ref(), &got.bias),
        ];
        for (name, expected, got) in pairs {
            let Some(got) = got else { continue };
            let (want, bounds) = expected.ok_or_else(|| format!("{name} of nothing"))?;
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
