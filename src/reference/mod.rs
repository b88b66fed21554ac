//! Executes a plan in f64 with plain loops. It says what is right, and is never optimized.

mod activation;
mod gradient;

pub use gradient::{GradientValues, Gradients, backward};

use crate::error::{Error, Result};
use crate::plan::{Plan, RunningUpdate, Source, Statistic, Statistics, check_len};
use crate::tensor::{Data, Dtype};

/// A plan's tensors in f64, by their PyTorch names.
#[derive(Debug, Clone, Default)]
pub struct Values {
    /// The tensor to normalize.
    pub input: Vec<f64>,
    /// The factor after the normalization, where the plan has one.
    pub weight: Option<Vec<f64>>,
    /// The summand after the factor, where the plan has one.
    pub bias: Option<Vec<f64>>,
    /// The running mean, where the plan has one.
    pub running_mean: Vec<f64>,
    /// The running variance, where the plan has one.
    pub running_var: Vec<f64>,
    /// Batches seen so far, where the plan counts them.
    pub num_batches_tracked: u64,
    /// What is added to the input first, where the plan has a residual.
    pub residual: Option<Vec<f64>>,
}

/// What a plan makes of its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// The normalized tensor.
    pub output: Vec<f64>,
    /// What was normalized: the input, or its sum with the residual, rounded to the storage type.
    pub sum: Vec<f64>,
    /// What backward needs again.
    pub statistics: Statistics,
}

/// Mean and biased variance (or mean square) of one statistic.
#[derive(Debug, Clone, Copy)]
struct Moments {
    mean: f64,
    var: f64,
}

/// Executes `plan` on `values`, updating the running estimates in place, and returns the output.
///
/// # Errors
///
/// When a tensor is missing or not as long as `plan` says.
pub fn execute(plan: &Plan, values: &mut Values) -> Result<Vec<f64>> {
    forward(plan, values).map(|forward| forward.output)
}

/// As [`execute`], with all that a plan makes.
///
/// # Errors
///
/// As [`execute`].
pub fn forward(plan: &Plan, values: &mut Values) -> Result<Forward> {
    values.check(plan)?;
    let view = plan.view;
    let sum = match &values.residual {
        Some(residual) => {
            let sum = values.input.iter().zip(residual).map(|(x, r)| x + r);
            rounded(plan.dtype, &sum.collect::<Vec<_>>())
        }
        None => values.input.clone(),
    };
    let mut output = vec![0.0; view.elements()];
    if output.is_empty() {
        return Ok(Forward { output, sum, statistics: Statistics::default() });
    }
    let moments: Vec<Moments> = (0..view.statistics()).map(|s| moments_of(plan, values, &sum, s)).collect();
    let statistics = Statistics {
        mean: moments.iter().map(|m| m.mean).collect(),
        rstd: moments.iter().map(|m| 1.0 / (m.var + plan.eps).sqrt()).collect(),
    };
    each_element(plan, |i, s, p| {
        let normalized = rounded_normalized(plan, (sum[i] - moments[s].mean) / (moments[s].var + plan.eps).sqrt());
        let y = normalized * factor(plan, values.weight.as_deref(), p) + values.bias.as_ref().map_or(0.0, |b| b[p]);
        output[i] = plan.epilogue.activation.map_or(y, |activation| activation::value(activation, y));
    });
    if let Some(update) = plan.running_update() {
        update_running(plan, update, values, &moments);
    }
    Ok(Forward { output, sum, statistics })
}

/// Calls `f` with each element's index, statistic and parameter.
fn each_element(plan: &Plan, mut f: impl FnMut(usize, usize, usize)) {
    let view = plan.view;
    for a in 0..view.a {
        for b in 0..view.b {
            for c in 0..view.c {
                for d in 0..view.d {
                    let i = ((a * view.b + b) * view.c + c) * view.d + d;
                    f(i, a * view.c + c, plan.affine.map.index(a, b, c, d));
                }
            }
        }
    }
}

/// What the weight multiplies by.
fn factor(plan: &Plan, weight: Option<&[f64]>, p: usize) -> f64 {
    let offset = if plan.epilogue.zero_centred_weight { 1.0 } else { 0.0 };
    weight.map_or(1.0, |w| w[p] + offset)
}

/// A normalized value as it meets the weight.
fn rounded_normalized(plan: &Plan, x: f64) -> f64 {
    if plan.rounds_normalized() { rounded(plan.dtype, &[x])[0] } else { x }
}

/// As stored.
fn rounded(dtype: Dtype, values: &[f64]) -> Vec<f64> {
    Data::from_f64(dtype, values).to_f64()
}

impl Values {
    fn check(&self, plan: &Plan) -> Result<()> {
        let affine = plan.affine;
        let parameters = affine.map.len;
        let running = plan.running_len().unwrap_or(self.running_mean.len());
        check_len("input", self.input.len(), plan.view.elements())?;
        match (&self.residual, plan.residual) {
            (Some(residual), true) => check_len("residual", residual.len(), plan.view.elements())?,
            (None, false) => {}
            (None, true) => {
                return Err(Error::Missing { argument: "residual", reason: "the plan was lowered with it" });
            }
            (Some(_), false) => {
                return Err(Error::Unexpected { argument: "residual", reason: "the plan was lowered without it" });
            }
        }
        check_len("weight", self.weight.as_ref().map_or(parameters, Vec::len), parameters)?;
        check_len("bias", self.bias.as_ref().map_or(parameters, Vec::len), parameters)?;
        check_len("running_mean", self.running_mean.len(), running)?;
        check_len("running_var", self.running_var.len(), running)
    }
}

fn moments_of(plan: &Plan, values: &Values, input: &[f64], statistic: usize) -> Moments {
    if let Source::Running { channels } = plan.source {
        let channel = statistic % channels;
        return Moments { mean: values.running_mean[channel], var: values.running_var[channel] };
    }
    let view = plan.view;
    let (a, c) = (statistic / view.c, statistic % view.c);
    let elements = || {
        (0..view.b).flat_map(move |b| {
            let row = ((a * view.b + b) * view.c + c) * view.d;
            input[row..row + view.d].iter()
        })
    };
    #[expect(clippy::cast_precision_loss, reason = "no tensor has 2^53 elements")]
    let count = view.count() as f64;
    let mean = match plan.statistic {
        Statistic::Centred => elements().sum::<f64>() / count,
        Statistic::Uncentred => 0.0,
    };
    Moments { mean, var: elements().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count }
}

#[expect(clippy::cast_precision_loss, reason = "no tensor has 2^53 elements")]
fn update_running(plan: &Plan, update: RunningUpdate, values: &mut Values, moments: &[Moments]) {
    if update.counter {
        values.num_batches_tracked = values.num_batches_tracked.saturating_add(1);
    }
    let share = update.momentum.share(values.num_batches_tracked);
    let count = plan.view.count() as f64;
    let samples = (moments.len() / update.channels) as f64;
    for channel in 0..update.channels {
        let own = || moments.iter().skip(channel).step_by(update.channels);
        let mean = own().map(|m| m.mean).sum::<f64>() / samples;
        let var = own().map(|m| m.var).sum::<f64>() / samples * update.variance.correction(count);
        values.running_mean[channel] += share * (mean - values.running_mean[channel]);
        values.running_var[channel] += share * (var - values.running_var[channel]);
    }
}
