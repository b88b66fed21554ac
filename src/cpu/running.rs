use super::moments::narrow;
use crate::plan::{Moments, RunningStatistics, RunningUpdate};

/// The estimates.
pub(super) fn moments(running: &RunningStatistics) -> Moments {
    let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect();
    Moments { mean: wide(&running.mean), var: wide(&running.var) }
}

/// Moves the running estimates towards the average over the samples of moments of `count` values each.
pub(super) fn update(
    running: &mut RunningStatistics,
    update: RunningUpdate,
    count: f64,
    mean_of: &[f64],
    var_of: &[f64],
) {
    if update.counter {
        running.num_batches_tracked = running.num_batches_tracked.map(|n| n.saturating_add(1));
    }
    let share = update.momentum.share(running.num_batches_tracked.unwrap_or(0));
    #[expect(clippy::cast_precision_loss, reason = "no tensor has 2^53 elements")]
    let samples = (mean_of.len() / update.channels) as f64;
    let correction = update.variance.correction(count);
    for (channel, (mean, var)) in running.mean.iter_mut().zip(&mut running.var).enumerate() {
        let average = |of: &[f64]| of.iter().skip(channel).step_by(update.channels).sum::<f64>() / samples;
        *mean = moved(*mean, average(mean_of), share);
        *var = moved(*var, average(var_of) * correction, share);
    }
}

fn moved(old: f32, new: f64, share: f64) -> f32 {
    let old = f64::from(old);
    narrow(old + share * (new - old))
}
