//! Executes a plan in f64 with plain loops. It says what is right, and is never optimized.

pub(crate) mod activation;
mod gradient;

pub(crate) use gradient::backward_among;
pub use gradient::{GradientValues, Gradients, backward};

use crate::error::{Error, Result};
use crate::plan::{Batch, Derived, Extra, Moments, Own, Peers, Plan, Shares, Source, Statistics, check_len};
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
    /// What only some normalizations learn.
    pub extra: Extra<Option<Vec<f64>>>,
    /// The class of each sample, where there are tables of classes.
    pub labels: Vec<i64>,
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
    forward_among(plan, None, values)
}

/// As [`forward`], as one of several that share statistics.
pub(crate) fn forward_among(plan: &Plan, peers: Option<&dyn Peers>, values: &mut Values) -> Result<Forward> {
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
    if output.is_empty() && peers.is_none() {
        if let Some(update) = plan.running_update() {
            values.num_batches_tracked = update.counted(values.num_batches_tracked);
        }
        return Ok(Forward { output, sum, statistics: Statistics::default() });
    }
    let own = values.own();
    let Derived { weight, bias, tau } = own.derived(plan);
    let (count, moments, sources) = match peers {
        Some(peers) => match peers.moments(plan, || moments(plan, values, &sum).0)? {
            Some(all) => (all.count, all.moments, Moments::default()),
            None => return Ok(Forward { output, sum, statistics: Statistics::default() }),
        },
        None => {
            let (moments, sources) = moments(plan, values, &sum);
            (plan.shard_count(), moments, sources)
        }
    };
    let eps = plan.eps + learned_eps(&values.extra);
    let rstd: Vec<f64> = moments.var.iter().map(|var| 1.0 / (var + eps).sqrt()).collect();
    each_element(plan, |i, s, p| {
        let normalized = match plan.source {
            Source::Nothing => sum[i],
            _ => (sum[i] - moments.mean[s]) / (moments.var[s] + eps).sqrt(),
        };
        let normalized = rounded_normalized(plan, normalized);
        let affine = normalized * factor(plan, weight.as_deref(), p) + bias.as_ref().map_or(0.0, |b| b[p]);
        let y = tau.as_ref().map_or(affine, |tau| above(affine, tau[p]));
        output[i] = plan.epilogue.activation.map_or(y, |activation| activation::value(activation, y));
    });
    if let Some(update) = plan.running_update() {
        let followed = match plan.source {
            Source::Mixed(mixing) => mixing.of_batch(&sources),
            _ => [&moments.mean[..], &moments.var],
        };
        let Values { running_mean, running_var, num_batches_tracked, .. } = values;
        *num_batches_tracked = update.counted(*num_batches_tracked);
        update.move_estimates([running_mean, running_var], *num_batches_tracked, count, followed, |estimate| estimate);
    }
    Ok(Forward { output, sum, statistics: Statistics { mean: moments.mean, rstd, sources } })
}

/// The greater of two numbers; a NaN is greater than all.
fn above(y: f64, tau: f64) -> f64 {
    if y <= tau || tau.is_nan() { tau } else { y }
}

/// What is added to eps.
fn learned_eps(extra: &Extra<Option<Vec<f64>>>) -> f64 {
    extra.eps_l.as_ref().map_or(0.0, |eps| eps[0].abs())
}

/// How statistics are mixed.
fn shares(extra: &Extra<Option<Vec<f64>>>) -> Shares {
    Shares::new(extra.mean_weight.as_deref().unwrap_or_default(), extra.var_weight.as_deref().unwrap_or_default())
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
    let offset = if plan.adds_one() { 1.0 } else { 0.0 };
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
    /// The caller's parameters.
    fn own(&self) -> Own {
        let Self { weight, bias, extra, labels, .. } = self;
        Own { weight: weight.clone(), bias: bias.clone(), extra: extra.clone(), labels: labels.clone() }
    }

    fn check(&self, plan: &Plan) -> Result<()> {
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
        self.own().check(plan)?;
        check_len("running_mean", self.running_mean.len(), running)?;
        check_len("running_var", self.running_var.len(), running)
    }
}

/// What each group is normalized by, and what that is a mixture of.
fn moments(plan: &Plan, values: &Values, input: &[f64]) -> (Moments, Moments) {
    let groups = 0..plan.view.statistics();
    let running = || Moments { mean: values.running_mean.clone(), var: values.running_var.clone() };
    let none = Moments::default();
    match plan.source {
        Source::Input { .. } => (measured(plan, input), none),
        Source::Nothing => {
            (Moments { mean: groups.clone().map(|_| 0.0).collect(), var: groups.map(|_| 1.0).collect() }, none)
        }
        Source::Running { channels } => {
            let Moments { mean, var } = running();
            let of_group = |estimates: Vec<f64>| groups.clone().map(|s| estimates[s % channels]).collect();
            (Moments { mean: of_group(mean), var: of_group(var) }, none)
        }
        Source::Mixed(mixing) => {
            let running = (mixing.batch == Batch::Running).then(running);
            let sources = mixing.of_instances(measured(plan, input), running);
            (mixing.mixed(&sources, &shares(&values.extra)), sources)
        }
    }
}

/// The groups' own moments.
fn measured(plan: &Plan, input: &[f64]) -> Moments {
    let view = plan.view;
    let mut moments = Moments::default();
    for statistic in 0..view.statistics() {
        let (a, c) = (statistic / view.c, statistic % view.c);
        let elements = || {
            (0..view.b).flat_map(move |b| {
                let row = ((a * view.b + b) * view.c + c) * view.d;
                input[row..row + view.d].iter()
            })
        };
        let mean = if plan.statistic.is_centred() { elements().sum::<f64>() / plan.count() } else { 0.0 };
        moments.mean.push(mean);
        moments.var.push(elements().map(|x| (x - mean) * (x - mean)).sum::<f64>() / plan.divisor());
    }
    moments
}
