//! Every norm straight from its definition, on samples, channels and positions, in f64.
//!
//! Nothing here knows of plans or views: a wrong lowering is wrong in every executor at once, so
//! whoever checks it must not share it.
#![allow(dead_code, reason = "not every test needs every norm")]

pub(crate) mod family;

/// Values between -1 and 3.
pub(crate) fn values(seed: u64, len: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 51) as f64 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Mean and biased variance of some values.
fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    (mean, values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count)
}

/// A tensor of samples, channels and positions, wherever the channels lie in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ncs {
    pub(crate) n: usize,
    pub(crate) c: usize,
    pub(crate) s: usize,
    pub(crate) channels_last: bool,
}

impl Ncs {
    fn at(&self, n: usize, c: usize, s: usize) -> usize {
        if self.channels_last { (n * self.s + s) * self.c + c } else { (n * self.c + c) * self.s + s }
    }

    /// Normalizes each set of elements `(n, c, s)` by the moments that `of` gives for it, then applies
    /// the channels' weight and bias.
    fn apply(&self, x: &[f64], channel: &Channel<'_>, eps: f64, of: impl Fn(usize, usize) -> (f64, f64)) -> Vec<f64> {
        let mut y = vec![0.0; x.len()];
        for n in 0..self.n {
            for c in 0..self.c {
                let (mean, var) = of(n, c);
                for s in 0..self.s {
                    let i = self.at(n, c, s);
                    y[i] = (x[i] - mean) / (var + eps).sqrt() * channel.weight(c) + channel.bias(c);
                }
            }
        }
        y
    }
}

/// Parameters of the channels.
#[derive(Clone, Copy, Default)]
pub(crate) struct Channel<'a> {
    pub(crate) weight: Option<&'a [f64]>,
    pub(crate) bias: Option<&'a [f64]>,
}

impl Channel<'_> {
    fn weight(&self, c: usize) -> f64 {
        self.weight.map_or(1.0, |w| w[c])
    }

    fn bias(&self, c: usize) -> f64 {
        self.bias.map_or(0.0, |b| b[c])
    }
}

/// Running estimates and how they move.
pub(crate) struct Running {
    pub(crate) mean: Vec<f64>,
    pub(crate) var: Vec<f64>,
    pub(crate) batches: u64,
}

impl Running {
    fn follow(&mut self, c: usize, momentum: f64, mean: f64, unbiased: f64) {
        self.mean[c] = (1.0 - momentum) * self.mean[c] + momentum * mean;
        self.var[c] = (1.0 - momentum) * self.var[c] + momentum * unbiased;
    }
}

/// GroupNorm: per sample, over C / G neighbouring channels and all positions.
pub(crate) fn group_norm(x: &[f64], ncs: Ncs, groups: usize, channel: Channel<'_>, eps: f64) -> Vec<f64> {
    let size = ncs.c / groups;
    ncs.apply(x, &channel, eps, |n, c| {
        let first = c / size * size;
        let group: Vec<f64> = (first..first + size).flat_map(|c| (0..ncs.s).map(move |s| x[ncs.at(n, c, s)])).collect();
        moments(&group)
    })
}

/// InstanceNorm: per sample and channel, over positions; running estimates follow the samples' average.
pub(crate) fn instance_norm(
    x: &[f64],
    ncs: Ncs,
    channel: Channel<'_>,
    eps: f64,
    running: Option<(&mut Running, f64)>,
) -> Vec<f64> {
    let of = |n: usize, c: usize| moments(&(0..ncs.s).map(|s| x[ncs.at(n, c, s)]).collect::<Vec<_>>());
    if let Some((running, momentum)) = running {
        for c in 0..ncs.c {
            let all: Vec<(f64, f64)> = (0..ncs.n).map(|n| of(n, c)).collect();
            let average = |f: fn(&(f64, f64)) -> f64| all.iter().map(f).sum::<f64>() / ncs.n as f64;
            let unbiased = ncs.s as f64 / (ncs.s as f64 - 1.0);
            running.follow(c, momentum, average(|m| m.0), average(|m| m.1) * unbiased);
        }
    }
    ncs.apply(x, &channel, eps, of)
}

/// BatchNorm in training: per channel, over samples and positions; `momentum` none is the plain average. PyTorch counts a
/// batch before it looks at it, and one without values moves no estimate.
pub(crate) fn batch_norm(
    x: &[f64],
    ncs: Ncs,
    channel: Channel<'_>,
    eps: f64,
    running: Option<(&mut Running, Option<f64>)>,
) -> Vec<f64> {
    let of = |c: usize| {
        let values: Vec<f64> = (0..ncs.n).flat_map(|n| (0..ncs.s).map(move |s| x[ncs.at(n, c, s)])).collect();
        moments(&values)
    };
    if let Some((running, momentum)) = running {
        running.batches += 1;
        let momentum = momentum.unwrap_or(1.0 / running.batches as f64);
        let count = (ncs.n * ncs.s) as f64;
        for c in 0..if count > 0.0 { ncs.c } else { 0 } {
            let (mean, var) = of(c);
            running.follow(c, momentum, mean, var * count / (count - 1.0));
        }
    }
    ncs.apply(x, &channel, eps, |_, c| of(c))
}

/// Instance or batch normalization in evaluation: by the running estimates.
pub(crate) fn by_running(x: &[f64], ncs: Ncs, channel: Channel<'_>, eps: f64, running: &Running) -> Vec<f64> {
    ncs.apply(x, &channel, eps, |_, c| (running.mean[c], running.var[c]))
}

/// LayerNorm and RMSNorm over any axes: elements that differ only in reduced axes belong together.
/// Weight and bias run over the reduced axes in the order of the tensor.
pub(crate) fn over_axes(
    x: &[f64],
    shape: &[usize],
    reduced: &[bool],
    (weight, bias): (Option<&[f64]>, Option<&[f64]>),
    eps: f64,
    centred: bool,
) -> Vec<f64> {
    // Each element's index among the kept axes and among the reduced ones.
    let split = |mut i: usize| {
        let (mut kept, mut parameter, mut kept_step, mut parameter_step) = (0, 0, 1, 1);
        for (&axis, &is_reduced) in shape.iter().zip(reduced).rev() {
            let (index, rest) = (i % axis, i / axis);
            i = rest;
            if is_reduced {
                parameter += index * parameter_step;
                parameter_step *= axis;
            } else {
                kept += index * kept_step;
                kept_step *= axis;
            }
        }
        (kept, parameter)
    };
    let groups: usize = shape.iter().zip(reduced).filter(|(_, r)| !**r).map(|(n, _)| n).product();
    let mut members = vec![Vec::new(); groups];
    for (i, &value) in x.iter().enumerate() {
        members[split(i).0].push(value);
    }
    let of = |values: &Vec<f64>| {
        let square = values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64;
        if centred { moments(values) } else { (0.0, square) }
    };
    let moments: Vec<(f64, f64)> = members.iter().map(of).collect();
    let normalize = |(i, &value): (usize, &f64)| {
        let (kept, p) = split(i);
        let (mean, var) = moments[kept];
        (value - mean) / (var + eps).sqrt() * weight.map_or(1.0, |w| w[p]) + bias.map_or(0.0, |b| b[p])
    };
    x.iter().enumerate().map(normalize).collect()
}
