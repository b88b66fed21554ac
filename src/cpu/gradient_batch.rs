//! What the scale of each run of a batch of short ones and what goes through its statistics are folded to: for all of its runs,
//! since one of them is not a vector.

use super::gradient_element::fold;
use super::gradient_groups::Through;
use super::gradient_runs::{Weight, write_stepwise};
use super::lanes::{Lanes, Scales};

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
