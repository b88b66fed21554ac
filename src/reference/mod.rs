//! Executes a plan in f64 with plain loops. It says what is right, and is never optimized.

use crate::error::Result;
use crate::plan::{Plan, RunningUpdate, Source, Statistic, check_len};

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
    values.check(plan)?;
    let view = plan.view;
    let mut output = vec![0.0; view.elements()];
    if output.is_empty() {
        return Ok(output);
    }
    let moments: Vec<Moments> = (0..view.statistics()).map(|s| moments_of(plan, values, s)).collect();
    for a in 0..view.a {
        for b in 0..view.b {
            for c in 0..view.c {
                let Moments { mean, var } = moments[a * view.c + c];
                for d in 0..view.d {
                    let i = ((a * view.b + b) * view.c + c) * view.d + d;
                    let p = plan.affine.map.index(a, b, c, d);
                    let normalized = (values.input[i] - mean) / (var + plan.eps).sqrt();
                    let weight = values.weight.as_ref().map_or(1.0, |w| w[p]);
                    let bias = values.bias.as_ref().map_or(0.0, |b| b[p]);
                    output[i] = normalized * weight + bias;
                }
            }
        }
    }
    if let Some(update) = plan.running_update() {
        update_running(plan, update, values, &moments);
    }
    Ok(output)
}

impl Values {
    fn check(&self, plan: &Plan) -> Result<()> {
        let affine = plan.affine;
        let parameters = affine.map.len;
        let running = plan.running_len().unwrap_or(self.running_mean.len());
        check_len("input", self.input.len(), plan.view.elements())?;
        check_len("weight", self.weight.as_ref().map_or(parameters, Vec::len), parameters)?;
        check_len("bias", self.bias.as_ref().map_or(parameters, Vec::len), parameters)?;
        check_len("running_mean", self.running_mean.len(), running)?;
        check_len("running_var", self.running_var.len(), running)
    }
}

fn moments_of(plan: &Plan, values: &Values, statistic: usize) -> Moments {
    if let Source::Running { channels } = plan.source {
        let channel = statistic % channels;
        return Moments { mean: values.running_mean[channel], var: values.running_var[channel] };
    }
    let view = plan.view;
    let (a, c) = (statistic / view.c, statistic % view.c);
    let elements = || {
        (0..view.b).flat_map(move |b| {
            let row = ((a * view.b + b) * view.c + c) * view.d;
            values.input[row..row + view.d].iter()
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
        let var = own().map(|m| m.var).sum::<f64>() / samples * count / (count - 1.0);
        values.running_mean[channel] += share * (mean - values.running_mean[channel]);
        values.running_var[channel] += share * (var - values.running_var[channel]);
    }
}
