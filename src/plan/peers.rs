use super::{GroupSums, Moments, Plan};
use crate::error::Result;
use std::fmt::Debug;

/// The moments of some values in each group.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Shard {
    /// Values in each group.
    pub(crate) count: f64,
    /// Their means and biased variances.
    pub(crate) moments: Moments,
}

/// Moments of more and more parts, in their order (Chan, Golub & LeVeque, 1979).
#[derive(Debug, Clone)]
pub(crate) struct Merging {
    /// Values in each group so far.
    pub(crate) count: f64,
    mean: Vec<f64>,
    /// Centred sums.
    squares: Vec<f64>,
}

impl Merging {
    /// Nothing yet, in so many groups.
    pub(crate) fn new(groups: usize) -> Self {
        Self { count: 0.0, mean: vec![0.0; groups], squares: vec![0.0; groups] }
    }

    /// Takes in a part: its count, and of each group the mean and the centred sum.
    pub(crate) fn add(&mut self, more: f64, [means, squares]: [&[f64]; 2]) {
        if more <= 0.0 {
            return;
        }
        let before = self.count;
        self.count += more;
        let share = more / self.count;
        let groups = self.mean.iter_mut().zip(&mut self.squares).zip(means.iter().zip(squares));
        for ((mean, sum), (other, squares)) in groups {
            let delta = other - *mean;
            *mean = moved_mean(*mean, *other, share);
            *sum += squares + delta * delta * (before * share);
        }
    }

    /// The moments of all parts, variances being what `divisor` makes of the sums.
    pub(crate) fn finish(self, divisor: f64) -> Shard {
        let Self { count, mean, squares: mut var } = self;
        if count > 0.0 {
            var.iter_mut().for_each(|sum| *sum /= divisor);
        }
        Shard { count, moments: Moments { mean, var } }
    }
}

/// The mean of values and of others, which are so large a share of all (Chan et al.). An infinite one stays infinite, whatever
/// comes after it.
#[inline(always)]
pub(crate) fn moved_mean(mean: f64, other: f64, share: f64) -> f64 {
    let delta = other - mean;
    mean + if delta.is_finite() { delta * share } else { other }
}

/// Where a plan's statistics are shared by several executors, the others as one of them sees them.
pub(crate) trait Peers: Debug + Sync {
    /// The moments of everybody's values, where they are known before one's own are measured.
    fn known(&self) -> Option<&Shard> {
        None
    }

    /// The moments of everybody's values, from one's own; `None` where these alone were wanted, and nothing is to be
    /// normalized yet.
    fn merged(&self, plan: &Plan, own: Shard) -> Result<Option<Shard>>;

    /// Everybody's sums over groups, from one's own, as if the groups had no more elements than one's own: divided
    /// by one's own count they are what everybody's are by the count of all.
    fn summed(&self, plan: &Plan, own: GroupSums) -> Result<GroupSums>;

    /// Whether a pass that failed may ask them again: not ranks, which wait for one another.
    fn can_repeat(&self) -> bool {
        false
    }
}

impl dyn Peers + '_ {
    /// The moments of everybody's values, from one's `own`, which are not measured where they are known; `None` as
    /// [`merged`](Self::merged) has it.
    pub(crate) fn moments(&self, plan: &Plan, own: impl FnOnce() -> Moments) -> Result<Option<Shard>> {
        match self.known() {
            Some(all) => Ok(Some(all.clone())),
            None => self.merged(plan, Shard { count: plan.shard_count(), moments: own() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_whose_mean_is_infinite_makes_it_infinite_wherever_it_comes() {
        for means in [[f64::INFINITY, 1.0, 2.0], [1.0, f64::INFINITY, 2.0], [1.0, 2.0, f64::INFINITY]] {
            let mut merging = Merging::new(1);
            means.iter().for_each(|mean| merging.add(3.0, [&[*mean], &[0.5]]));
            assert_eq!(merging.finish(8.0).moments.mean, [f64::INFINITY], "{means:?}");
        }
    }
}
