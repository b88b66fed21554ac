use super::{Batch, Mixing, RunningStatistics};

/// Where mean and variance come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Source {
    /// From the input.
    Input {
        /// The running estimates that are updated on the way.
        running: Option<RunningUpdate>,
    },
    /// From running estimates; statistic `s` takes entry `s % channels`.
    Running {
        /// Elements of `running_mean` and of `running_var`.
        channels: usize,
    },
    /// They are mixtures of those of the input's instances, layers and batch.
    Mixed(Mixing),
    /// There are none: values stay as they are.
    Nothing,
}

impl Source {
    /// Whether they move with the input, so that gradients flow through them.
    #[must_use]
    pub fn follows_input(&self) -> bool {
        matches!(self, Self::Input { .. } | Self::Mixed(_))
    }

    /// Elements of `running_mean` and of `running_var`, where they are read or updated.
    #[must_use]
    pub fn running_len(&self) -> Option<usize> {
        match *self {
            Self::Input { running } => running.map(|update| update.channels),
            Self::Running { channels } => Some(channels),
            Self::Mixed(Mixing { channels, batch: Batch::Running, .. }) => Some(channels),
            Self::Mixed(Mixing { batch: Batch::Input { running }, .. }) => running.map(|update| update.channels),
            Self::Nothing => None,
        }
    }

    /// How running estimates follow, where there are any that do.
    #[must_use]
    pub fn running_update(&self) -> Option<RunningUpdate> {
        match *self {
            Self::Input { running } | Self::Mixed(Mixing { batch: Batch::Input { running }, .. }) => running,
            Self::Running { .. } | Self::Mixed(_) | Self::Nothing => None,
        }
    }

    /// The mixture, if it is one.
    #[must_use]
    pub fn mixing(&self) -> Option<Mixing> {
        match *self {
            Self::Mixed(mixing) => Some(mixing),
            _ => None,
        }
    }
}

/// How running estimates follow the statistics of the input.
///
/// ```text
/// running_mean = (1 - m) * running_mean + m * average of mean
/// running_var  = (1 - m) * running_var  + m * average of variance
/// ```
///
/// The averages are over the statistics `s` with the same `s % channels`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunningUpdate {
    /// Elements of `running_mean` and of `running_var`.
    pub channels: usize,
    /// The share of the new value.
    pub momentum: Momentum,
    /// Whether `num_batches_tracked` is there to be counted up.
    pub counter: bool,
    /// Which variance the running one follows.
    pub variance: RunningVariance,
}

impl RunningUpdate {
    /// Moves the running estimates towards the average over the samples of moments of `count` values each, means and
    /// variances. No value moves them nowhere, but counts as a batch.
    pub(crate) fn apply(self, running: &mut RunningStatistics, count: f64, moments: [&[f64]; 2]) {
        self.count(running);
        let RunningStatistics { mean, var, num_batches_tracked } = running;
        let batches = num_batches_tracked.unwrap_or(0);
        #[expect(clippy::cast_possible_truncation, reason = "running estimates are stored as f32")]
        self.move_estimates([mean, var], batches, count, moments, |estimate| estimate as f32);
    }

    /// Takes down that there was a batch, be it empty.
    pub(crate) fn count(self, running: &mut RunningStatistics) {
        running.num_batches_tracked = running.num_batches_tracked.map(|batches| self.counted(batches));
    }

    /// The batches with one more.
    pub(crate) fn counted(self, batches: u64) -> u64 {
        if self.counter { batches.saturating_add(1) } else { batches }
    }

    /// As [`apply`](Self::apply), of estimates as they are `stored`, once the batch is counted.
    pub(crate) fn move_estimates<E: Copy + Into<f64>>(
        self,
        [running_mean, running_var]: [&mut [E]; 2],
        batches: u64,
        count: f64,
        [means, vars]: [&[f64]; 2],
        stored: impl Fn(f64) -> E,
    ) {
        if count == 0.0 {
            return;
        }
        let share = self.momentum.share(batches);
        #[expect(clippy::cast_precision_loss, reason = "no tensor has 2^53 elements")]
        let samples = (means.len() / self.channels.max(1)) as f64;
        let correction = self.variance.correction(count);
        for (channel, (mean, var)) in running_mean.iter_mut().zip(running_var).enumerate() {
            let average = |of: &[f64]| of.iter().skip(channel).step_by(self.channels).sum::<f64>() / samples;
            *mean = stored(moved((*mean).into(), average(means), share));
            *var = stored(moved((*var).into(), average(vars) * correction, share));
        }
    }
}

/// A running estimate with so large a share of something new. Not `old + share * (new - old)`, whose rounding leaves something
/// of a much larger old one where the share is 1.
fn moved(old: f64, new: f64, share: f64) -> f64 {
    (1.0 - share) * old + share * new
}

/// Which variance of a batch a running variance follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RunningVariance {
    /// Divided by the count less one: PyTorch.
    #[default]
    Unbiased,
    /// Divided by the count: TensorFlow, Keras, ONNX.
    Biased,
}

impl RunningVariance {
    /// What the biased variance of `count` values is multiplied by.
    #[must_use]
    pub fn correction(self, count: f64) -> f64 {
        match self {
            Self::Unbiased => count / (count - 1.0),
            Self::Biased => 1.0,
        }
    }
}

/// The share of the new value in a running estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Momentum {
    /// A fixed share; PyTorch's default is 0.1.
    Fixed(f64),
    /// `1 / num_batches_tracked` after counting: the plain average of all batches (PyTorch's `None`).
    Cumulative,
}

impl Momentum {
    /// The share after `tracked` batches, the present one included.
    #[must_use]
    pub fn share(self, tracked: u64) -> f64 {
        match self {
            Self::Fixed(share) => share,
            #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
            Self::Cumulative => 1.0 / tracked as f64,
        }
    }
}

impl Default for Momentum {
    fn default() -> Self {
        Self::Fixed(0.1)
    }
}
