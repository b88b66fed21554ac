use super::moments::{Moments, Scale, float, narrow};
use crate::plan::{RunningStatistics, RunningUpdate, Statistics, View};

/// The scale of each statistic from running estimates; statistic `s` takes entry `s % channels`.
pub(super) fn scales(running: &RunningStatistics, channels: usize, view: View, eps: f64) -> Vec<Scale> {
    let estimates = running.mean.iter().zip(&running.var).take(channels);
    let of_channel: Vec<Scale> =
        estimates.map(|(&mean, &var)| Scale::new(f64::from(mean), f64::from(var), eps)).collect();
    of_channel.iter().copied().cycle().take(view.statistics()).collect()
}

/// What backward needs of running estimates.
pub(super) fn statistics(running: &RunningStatistics, channels: usize, view: View, eps: f64) -> Statistics {
    let every = |values: Vec<f64>| values.iter().copied().cycle().take(view.statistics()).collect();
    Statistics {
        mean: every(running.mean[..channels].iter().map(|&mean| f64::from(mean)).collect()),
        rstd: every(running.var[..channels].iter().map(|&var| 1.0 / (f64::from(var) + eps).sqrt()).collect()),
    }
}

/// Moves the running estimates towards the average of `moments` over the samples.
pub(super) fn update(running: &mut RunningStatistics, update: RunningUpdate, moments: &[Moments]) {
    if update.counter {
        running.num_batches_tracked = running.num_batches_tracked.map(|n| n.saturating_add(1));
    }
    let share = update.momentum.share(running.num_batches_tracked.unwrap_or(0));
    let samples = float(moments.len() / update.channels);
    for (channel, (mean, var)) in running.mean.iter_mut().zip(&mut running.var).enumerate() {
        let own = || moments.iter().skip(channel).step_by(update.channels);
        let new_mean = own().map(|m| m.mean).sum::<f64>() / samples;
        let new_var = own().map(|m| m.variance() * update.variance.correction(m.count)).sum::<f64>() / samples;
        *mean = moved(*mean, new_mean, share);
        *var = moved(*var, new_var, share);
    }
}

fn moved(old: f32, new: f64, share: f64) -> f32 {
    let old = f64::from(old);
    narrow(old + share * (new - old))
}
