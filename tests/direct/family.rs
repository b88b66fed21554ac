//! The younger norms straight from their definitions, on samples, channels and positions, in f64.
//!
//! Every sum of squares is of differences from the mean, taken in a second pass, but for the one
//! whose definition has no mean.

use super::{Channel, Ncs, Running, moments};

/// Where switchable normalization takes its batch statistics from; the `f64` is the momentum.
pub(crate) enum Batch<'a> {
    Training(Option<(&'a mut Running, f64)>),
    Evaluation(&'a Running),
}

/// A tensor whose element `(n, c, s)`, at `i` in memory, is what `of` gives for `(n, c, s, i)`.
fn tensor(ncs: Ncs, of: impl Fn(usize, usize, usize, usize) -> f64) -> Vec<f64> {
    let mut y = vec![0.0; ncs.n * ncs.c * ncs.s];
    for n in 0..ncs.n {
        for c in 0..ncs.c {
            for s in 0..ncs.s {
                let i = ncs.at(n, c, s);
                y[i] = of(n, c, s, i);
            }
        }
    }
    y
}

fn softmax(weight: [f64; 3]) -> [f64; 3] {
    let largest = weight.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let powers = weight.map(|w| (w - largest).exp());
    powers.map(|p| p / powers.iter().sum::<f64>())
}

/// Mean and unbiased variance of some values.
fn unbiased_moments(values: &[f64]) -> (f64, f64) {
    let (mean, var) = moments(values);
    (mean, var * values.len() as f64 / (values.len() as f64 - 1.0))
}

/// SwitchableNorm: weighs the moments of the instance, the layer and the batch. The instance's
/// variance is unbiased, and the other two are made of it; the running variance is not corrected again.
pub(crate) fn switchable_norm(
    x: &[f64],
    ncs: Ncs,
    channel: Channel<'_>,
    mean_weight: [f64; 3],
    var_weight: [f64; 3],
    eps: f64,
    batch: Batch<'_>,
) -> Vec<f64> {
    let instance = |n: usize, c: usize| unbiased_moments(&(0..ncs.s).map(|s| x[ncs.at(n, c, s)]).collect::<Vec<f64>>());
    // avg(var + mean²) - avg(mean)² is the average variance and the variance of the means.
    let pooled = |of: Vec<(f64, f64)>| {
        let (mean, between) = moments(&of.iter().map(|m| m.0).collect::<Vec<f64>>());
        (mean, of.iter().map(|m| m.1).sum::<f64>() / of.len() as f64 + between)
    };
    let layers: Vec<(f64, f64)> = (0..ncs.n).map(|n| pooled((0..ncs.c).map(|c| instance(n, c)).collect())).collect();
    let of_batch = |c: usize| pooled((0..ncs.n).map(|n| instance(n, c)).collect());
    let batches: Vec<(f64, f64)> = match &batch {
        Batch::Training(_) => (0..ncs.c).map(of_batch).collect(),
        Batch::Evaluation(running) => (0..ncs.c).map(|c| (running.mean[c], running.var[c])).collect(),
    };
    if let Batch::Training(Some((running, momentum))) = batch {
        for (c, &(mean, var)) in batches.iter().enumerate() {
            running.follow(c, momentum, mean, var);
        }
    }
    let (m, v) = (softmax(mean_weight), softmax(var_weight));
    ncs.apply(x, &channel, eps, |n, c| {
        let three = [instance(n, c), layers[n], batches[c]];
        ((0..3).map(|k| m[k] * three[k].0).sum(), (0..3).map(|k| v[k] * three[k].1).sum())
    })
}

/// Positional normalization: per sample and position, over channels. Output, mean and standard
/// deviation; the latter two by sample, then position.
pub(crate) fn positional_norm(x: &[f64], ncs: Ncs, eps: f64) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let (mut means, mut stds) = (Vec::new(), Vec::new());
    for n in 0..ncs.n {
        for s in 0..ncs.s {
            let (mean, var) = unbiased_moments(&(0..ncs.c).map(|c| x[ncs.at(n, c, s)]).collect::<Vec<f64>>());
            means.push(mean);
            stds.push((var + eps).sqrt());
        }
    }
    let y = tensor(ncs, |n, _, s, i| (x[i] - means[n * ncs.s + s]) / stds[n * ncs.s + s]);
    (y, means, stds)
}

/// Moment shortcut: scales and shifts each position; `gamma` and `beta` by sample, then position.
pub(crate) fn moment_shortcut(x: &[f64], ncs: Ncs, gamma: &[f64], beta: &[f64]) -> Vec<f64> {
    tensor(ncs, |n, _, s, i| x[i] * gamma[n * ncs.s + s] + beta[n * ncs.s + s])
}

/// The run that channel `c`, position `s` falls into when a sample, flattened channel by channel
/// wherever the channels lie in memory, is cut into `groups` equal runs.
fn run(ncs: Ncs, groups: usize, c: usize, s: usize) -> usize {
    (c * ncs.s + s) / (ncs.c * ncs.s / groups)
}

fn apply_runs(x: &[f64], ncs: Ncs, groups: usize, channel: Channel<'_>, eps: f64, runs: &[(f64, f64)]) -> Vec<f64> {
    tensor(ncs, |_, c, s, i| {
        let (mean, var) = runs[run(ncs, groups, c, s)];
        (x[i] - mean) / (var + eps).sqrt() * channel.weight(c) + channel.bias(c)
    })
}

/// Batch group normalization in training: per run of the flattened samples, over samples and the
/// run; `momentum` none is the plain average.
pub(crate) fn batch_group_norm(
    x: &[f64],
    ncs: Ncs,
    groups: usize,
    channel: Channel<'_>,
    eps: f64,
    running: Option<(&mut Running, Option<f64>)>,
) -> Vec<f64> {
    let mut members = vec![Vec::new(); groups];
    for n in 0..ncs.n {
        for c in 0..ncs.c {
            for s in 0..ncs.s {
                members[run(ncs, groups, c, s)].push(x[ncs.at(n, c, s)]);
            }
        }
    }
    if let Some((running, momentum)) = running {
        running.batches += 1;
        let momentum = momentum.unwrap_or(1.0 / running.batches as f64);
        for (group, values) in members.iter().enumerate() {
            let (mean, unbiased) = unbiased_moments(values);
            running.follow(group, momentum, mean, unbiased);
        }
    }
    let runs: Vec<(f64, f64)> = members.iter().map(|values| moments(values)).collect();
    apply_runs(x, ncs, groups, channel, eps, &runs)
}

/// Batch group normalization in evaluation: by the runs' running estimates.
pub(crate) fn batch_group_norm_by_running(
    x: &[f64],
    ncs: Ncs,
    groups: usize,
    channel: Channel<'_>,
    eps: f64,
    running: &Running,
) -> Vec<f64> {
    let runs: Vec<(f64, f64)> = running.mean.iter().copied().zip(running.var.iter().copied()).collect();
    apply_runs(x, ncs, groups, channel, eps, &runs)
}

/// Conditional batch normalization after the normalizing: each sample by its class's row of the
/// tables of classes and channels.
pub(crate) fn conditional(
    y: &[f64],
    ncs: Ncs,
    labels: &[i64],
    weight: Option<&[f64]>,
    bias: Option<&[f64]>,
) -> Vec<f64> {
    tensor(ncs, |n, c, _, i| {
        let entry = usize::try_from(labels[n]).expect("a label is not negative") * ncs.c + c;
        y[i] * weight.map_or(1.0, |w| w[entry]) + bias.map_or(0.0, |b| b[entry])
    })
}

/// Sandwich batch normalization after the normalizing: the shared weight and bias, then the class's.
pub(crate) fn sandwich(
    y: &[f64],
    ncs: Ncs,
    labels: &[i64],
    shared: Channel<'_>,
    class_weight: Option<&[f64]>,
    class_bias: Option<&[f64]>,
) -> Vec<f64> {
    let y = tensor(ncs, |_, c, _, i| y[i] * shared.weight(c) + shared.bias(c));
    conditional(&y, ncs, labels, class_weight, class_bias)
}

/// Filter response normalization: per sample and channel, by the mean square over positions, then
/// the threshold; a NaN stays one.
pub(crate) fn filter_response_norm(
    x: &[f64],
    ncs: Ncs,
    channel: Channel<'_>,
    tau: Option<&[f64]>,
    eps: f64,
    eps_l: Option<f64>,
) -> Vec<f64> {
    let square = |n: usize, c: usize| (0..ncs.s).map(|s| x[ncs.at(n, c, s)].powi(2)).sum::<f64>() / ncs.s as f64;
    let y = ncs.apply(x, &channel, eps.abs() + eps_l.map_or(0.0, f64::abs), |n, c| (0.0, square(n, c)));
    let threshold = |y: f64, tau: f64| if y > tau || y.is_nan() { y } else { tau };
    tensor(ncs, |_, c, _, i| tau.map_or(y[i], |tau| threshold(y[i], tau[c])))
}
