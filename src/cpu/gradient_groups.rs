//! What backward knows of groups: how each was scaled, and what goes through its statistics.

use super::gradient_parameters::Pair;
use super::gradient_runs::about_mean;
use super::lanes::{Lanes, Scales};
use super::moments::{Scale, narrow};
use crate::plan::{GradientArguments, Plan, Source, Statistics};
use crate::tensor::Data;

/// What goes through the mean of a group, and through its variance for each unit of the normalized value.
pub(super) type Through = [f32; 2];

/// All groups of a tensor, in whatever type it is stored.
pub(super) struct Groups<'a> {
    statistics: &'a Statistics,
    /// What flows into means and deviations.
    inflow: [Option<Vec<f64>>; 2],
    /// Whether values are normalized at all.
    are_normalized: bool,
    are_centred: bool,
    /// Whether sums over groups are wanted: where gradients go through the statistics.
    pub(super) through: bool,
    /// One over how many elements share a statistic, and over what their sum of squares was divided by: of short runs the
    /// divisions took a fifth of the time.
    reciprocals: [f64; 2],
}

impl<'a> Groups<'a> {
    /// Those of a plan; `through` says whether gradients go through statistics.
    pub(super) fn new(plan: &Plan, arguments: &GradientArguments<'a>, through: bool) -> Self {
        Self {
            statistics: arguments.statistics,
            inflow: [arguments.grad_mean, arguments.grad_std].map(|inflow| inflow.map(Data::to_f64)),
            are_normalized: plan.source != Source::Nothing,
            are_centred: plan.statistic.is_centred(),
            through,
            reciprocals: [plan.count(), plan.divisor()].map(f64::recip),
        }
    }

    /// How a statistic was applied.
    #[inline(always)]
    pub(super) fn scale(&self, statistic: usize) -> Scale {
        if !self.are_normalized {
            return Scale::NOTHING;
        }
        Scale::kept(self.statistics.mean[statistic], self.statistics.rstd[statistic])
    }

    /// One over the standard deviation of a group.
    #[inline(always)]
    pub(super) fn rstd(&self, statistic: usize) -> f64 {
        self.statistics.rstd[statistic]
    }

    /// Whether anything flows into means or deviations.
    #[inline(always)]
    fn have_inflow(&self) -> bool {
        self.inflow.iter().any(Option::is_some)
    }

    /// The sums of a group, with what flows into its deviation and its mean.
    #[inline(always)]
    fn with_inflow(&self, statistic: usize, [products, gradients]: Pair) -> Pair {
        if !self.have_inflow() {
            return [products, gradients];
        }
        let [of_mean, of_std] = self
            .inflow
            .each_ref()
            .map(|inflow| inflow.as_ref().map_or(0.0, |inflow| inflow[statistic] / self.rstd(statistic)));
        [products - of_std, gradients - of_mean]
    }

    /// What goes through the statistics of a group with these sums.
    #[inline(always)]
    pub(super) fn through_of(&self, statistic: usize, sums: Pair) -> Through {
        if !self.through {
            return [0.0; 2];
        }
        self.through_sums(self.with_inflow(statistic, sums))
    }

    /// The same of sums that have what flows in.
    #[inline(always)]
    fn through_sums(&self, [products, gradients]: Pair) -> Through {
        let [of_mean, of_variance] = self.reciprocals;
        let mean = if self.are_centred { narrow(gradients * of_mean) } else { 0.0 };
        [mean, narrow(products * of_variance)]
    }

    /// How the runs of a batch are scaled, the first of which is run `first`.
    #[inline(always)]
    pub(super) fn scales<const N: usize>(&self, first: usize) -> Scales<N> {
        let of_batch = first..first + N;
        let (means, rstds) = (&self.statistics.mean[of_batch.clone()], &self.statistics.rstd[of_batch]);
        let mut scales = Scales::UNKNOWN;
        for (k, (mean, rstd)) in means.iter().zip(rstds).enumerate() {
            scales.set(k, Scale::kept(*mean, *rstd));
        }
        scales
    }

    /// What goes through the statistics of a batch, from each run's sums of weighted gradients times what was taken about
    /// its head, and of weighted gradients.
    #[inline(always)]
    pub(super) fn through_each<const N: usize>(
        &self,
        first: usize,
        [products, gradients]: [Lanes<N>; 2],
        scales: &Scales<N>,
    ) -> [Through; N] {
        let (mut pairs, mut through) = ([[0.0; 2]; N], [[0.0; 2]; N]);
        for k in 0..N {
            pairs[k] = about_mean([products[k], gradients[k]], scales.get(k));
        }
        if self.have_inflow() {
            for (k, pair) in pairs.iter_mut().enumerate() {
                *pair = self.with_inflow(first + k, *pair);
            }
        }
        for k in 0..N {
            through[k] = self.through_sums(pairs[k]);
        }
        through
    }
}
