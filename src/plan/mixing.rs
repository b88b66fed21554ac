//! Statistics that are mixtures of instance, layer and batch statistics.

use super::RunningUpdate;

/// Instance statistics, mixed with those of the layer (all channels of a sample) and of the batch (all samples of a
/// channel). Statistic `n * channels + c` is that of channel `c` of sample `n`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixing {
    /// Samples.
    pub samples: usize,
    /// Channels.
    pub channels: usize,
    /// Where the batch's statistics come from.
    pub batch: Batch,
}

/// Where the batch's share of mixed statistics comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Batch {
    /// From the input.
    Input {
        /// The running estimates that are updated on the way.
        running: Option<RunningUpdate>,
    },
    /// From running estimates.
    Running,
}

/// Means and variances.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Moments {
    /// Means.
    pub mean: Vec<f64>,
    /// Variances.
    pub var: Vec<f64>,
}

/// Shares of instance, layer and batch in a mixture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shares {
    pub(crate) mean: [f64; 3],
    pub(crate) var: [f64; 3],
}

/// What reaches the normalized values of the groups, each summed over a group.
#[derive(Debug, Clone)]
pub(crate) struct GroupSums {
    /// Gradients times normalized values.
    pub(crate) products: Vec<f64>,
    /// Gradients.
    pub(crate) gradients: Vec<f64>,
}

impl GroupSums {
    /// Of each group the products' sum, then the gradients'.
    pub(crate) fn from_pairs(pairs: &[[f64; 2]]) -> Self {
        let (products, gradients) = pairs.iter().map(|&[product, gradient]| (product, gradient)).unzip();
        Self { products, gradients }
    }

    pub(crate) fn into_pairs(self) -> Vec<[f64; 2]> {
        self.products.into_iter().zip(self.gradients).map(|(product, gradient)| [product, gradient]).collect()
    }
}

/// Of a mean and of a variance: these themselves, or what reaches them.
type Pair = [f64; 2];

impl Shares {
    /// From what is learned, by softmax.
    pub(crate) fn new(mean_weight: &[f64], var_weight: &[f64]) -> Self {
        Self { mean: softmax(mean_weight), var: softmax(var_weight) }
    }
}

fn softmax(weights: &[f64]) -> [f64; 3] {
    let mut shares = [0.0; 3];
    let largest = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for (share, weight) in shares.iter_mut().zip(weights) {
        *share = (weight - largest).exp();
    }
    let total: f64 = shares.iter().sum();
    shares.map(|share| share / total)
}

impl Mixing {
    /// Statistics of all three kinds.
    #[must_use]
    pub fn sources(&self) -> usize {
        self.samples.saturating_mul(self.channels).saturating_add(self.samples).saturating_add(self.channels)
    }

    /// The instances' moments, then the layers', then the batch's; these are `running` in evaluation.
    pub(crate) fn of_instances(&self, instances: Moments, running: Option<Moments>) -> Moments {
        let Self { samples, channels, .. } = *self;
        let mut all = instances;
        let layers: Vec<Pair> =
            (0..samples).map(|n| averaged(&all, (0..channels).map(move |c| n * channels + c))).collect();
        let batch: Vec<Pair> = match running {
            Some(Moments { mean, var }) => mean.into_iter().zip(var).map(|(mean, var)| [mean, var]).collect(),
            None => (0..channels).map(|c| averaged(&all, (0..samples).map(move |n| n * channels + c))).collect(),
        };
        for [mean, var] in layers.into_iter().chain(batch) {
            all.mean.push(mean);
            all.var.push(var);
        }
        all
    }

    /// Means and variances of the batch's own channels among all kinds, which running estimates follow.
    pub(crate) fn of_batch<'a>(&self, sources: &'a Moments) -> [&'a [f64]; 2] {
        let first = self.sources() - self.channels;
        [&sources.mean[first..], &sources.var[first..]]
    }

    /// Which instance, layer and batch statistic are mixed for a group.
    fn parts(&self, group: usize) -> [usize; 3] {
        let instances = self.samples * self.channels;
        [group, instances + group / self.channels, instances + self.samples + group % self.channels]
    }

    /// The mixtures.
    pub(crate) fn mixed(&self, sources: &Moments, shares: &Shares) -> Moments {
        let mix = |values: &[f64], shares: &[f64; 3], group| {
            self.parts(group).into_iter().zip(shares).map(|(part, share)| share * values[part]).sum()
        };
        let groups = 0..self.samples * self.channels;
        Moments {
            mean: groups.clone().map(|group| mix(&sources.mean, &shares.mean, group)).collect(),
            var: groups.map(|group| mix(&sources.var, &shares.var, group)).collect(),
        }
    }

    /// Turns sums over groups, which reach the mixture, into what reaches the instances' own statistics in the same
    /// form: what a pass that knows of no mixture makes the input's gradient of. Gives the gradients of what is
    /// learned, of means and of variances. `bessel` is the values of an instance over what their squares are divided by.
    pub(crate) fn backward(
        &self,
        (mean, rstd): (&[f64], &[f64]),
        sources: &Moments,
        shares: &Shares,
        bessel: f64,
        sums: &mut GroupSums,
    ) -> [[f64; 3]; 2] {
        let groups = self.samples * self.channels;
        let of_mixture: Vec<Pair> =
            (0..groups).map(|i| [-rstd[i] * sums.gradients[i], -0.5 * rstd[i] * rstd[i] * sums.products[i]]).collect();
        let mut of_shares = [[0.0; 3]; 2];
        let mut of_parts = vec![[0.0; 2]; self.sources()];
        for (i, [of_mean, of_var]) in of_mixture.iter().enumerate() {
            let parts = self.parts(i);
            let var: f64 = parts.iter().zip(&shares.var).map(|(&part, share)| share * sources.var[part]).sum();
            for (k, part) in parts.into_iter().enumerate() {
                of_parts[part][0] += shares.mean[k] * of_mean;
                of_parts[part][1] += shares.var[k] * of_var;
                of_shares[0][k] += shares.mean[k] * of_mean * (sources.mean[part] - mean[i]);
                of_shares[1][k] += shares.var[k] * of_var * (sources.var[part] - var);
            }
        }
        for i in 0..groups {
            let [_, layer, batch] = self.parts(i);
            let mut own = of_parts[i];
            self.spread(&of_parts, sources, (i, layer), self.channels, &mut own);
            if matches!(self.batch, Batch::Input { .. }) {
                self.spread(&of_parts, sources, (i, batch), self.samples, &mut own);
            }
            let [of_mean, of_var] = own;
            let moved = 2.0 * of_var * (mean[i] - sources.mean[i]) * bessel;
            sums.gradients[i] = -(of_mean + moved) / rstd[i];
            sums.products[i] = -2.0 * of_var / (rstd[i] * rstd[i]);
        }
        of_shares
    }

    /// Adds what reaches an instance's moments through those of all `parts` instances of a layer or the batch.
    fn spread(
        &self,
        of_parts: &[Pair],
        sources: &Moments,
        (own, whole): (usize, usize),
        parts: usize,
        into: &mut Pair,
    ) {
        #[expect(clippy::cast_precision_loss, reason = "no tensor has 2^53 elements")]
        let parts = parts as f64;
        let [of_mean, of_var] = of_parts[whole];
        into[0] += (of_mean + 2.0 * of_var * (sources.mean[own] - sources.mean[whole])) / parts;
        into[1] += of_var / parts;
    }
}

/// Mean and variance of equally large groups together: the mean of the variances, and the variance of the means.
fn averaged(groups: &Moments, own: impl Iterator<Item = usize> + Clone) -> Pair {
    #[expect(clippy::cast_precision_loss, reason = "no tensor has 2^53 elements")]
    let count = own.clone().count() as f64;
    let mean = own.clone().map(|i| groups.mean[i]).sum::<f64>() / count;
    let squares = own.map(|i| groups.var[i] + (groups.mean[i] - mean) * (groups.mean[i] - mean)).sum::<f64>();
    [mean, squares / count]
}
