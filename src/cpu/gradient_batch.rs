//! What is known of each run of a batch of short ones: its scale, what goes through its statistics, and what both are folded
//! to; stage by stage for all of its runs, since one of them is not a vector.

use super::gradient_element::fold;
use super::gradient_groups::{Groups, Through};
use super::gradient_runs::{Weight, about_mean, write_stepwise};
use super::lanes::{Lanes, Scales};
use super::moments::Scale;

impl Groups<'_> {
    /// How the runs of a batch are scaled, the first of which is run `first`.
    #[inline(always)]
    pub(super) fn scales<const N: usize>(&self, first: usize) -> Scales<N> {
        let (means, rstds) = self.of_batch(first..first + N);
        let mut scales = Scales::UNKNOWN;
        for (k, (mean, rstd)) in means.iter().zip(rstds).enumerate() {
            scales.set(k, Scale::given(*mean, *rstd));
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

/// [`Folded`](super::gradient_element::Folded) of each run, and whether that keeps all digits of all of them.
#[inline(always)]
pub(super) fn fold_each<const N: usize>(scales: &Scales<N>, through: &[Through; N]) -> ([Lanes<N>; 3], bool) {
    let (mut of_gradient, mut of_distance, mut offset) = ([0.0; N], [0.0; N], [0.0; N]);
    let mut all_keep_digits = true;
    for k in 0..N {
        let (coefficients, keeps_digits) = fold(scales.get(k), 1.0, through[k]);
        [of_gradient[k], of_distance[k], offset[k]] = coefficients;
        all_keep_digits &= keeps_digits;
    }
    ([of_gradient, of_distance, offset], all_keep_digits)
}

/// Writes the gradients once more of the runs that folding costs digits.
#[cold]
#[inline(never)]
pub(super) fn mend<const N: usize>(
    [x, g, weight]: [&[f32]; 3],
    scales: &Scales<N>,
    through: &[Through; N],
    y: &mut [f32],
) {
    let d = weight.len();
    for (k, through) in through.iter().enumerate() {
        let scale = scales.get(k);
        if !fold(scale, 1.0, *through).1 {
            let at = k * d..(k + 1) * d;
            write_stepwise([&x[at.clone()], &g[at.clone()]], Weight::Own(weight), scale, *through, &mut y[at]);
        }
    }
}
