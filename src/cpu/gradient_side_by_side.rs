//! Gradients of groups of one run of a few elements each, whose columns have parameters of their own that all runs share:
//! runs lie side by side, a lane each, so that none of them adds its lanes up.

use super::gradient::{BLOCK_ROWS, Found};
use super::gradient_batch::{fold_each, mend};
use super::gradient_groups::Groups;
use super::gradient_short_runs::{ColumnSums, Runs};
use super::lanes::{Lanes, SIDE_BY_SIDE, Scales, one_after_another, side_by_side, totals};
use super::row_kernels::FEW;
use pulp::{Simd, WithSimd};

/// Elements of a run at most.
pub(super) const MOST_SIDE_BY_SIDE: usize = FEW - 1;

/// What columns' own parameters need, of every lane's runs.
pub(super) struct LaneSums {
    of_weight: [Lanes<SIDE_BY_SIDE>; MOST_SIDE_BY_SIDE],
    of_bias: [Lanes<SIDE_BY_SIDE>; MOST_SIDE_BY_SIDE],
}

impl LaneSums {
    /// Before any is added.
    pub(super) const NONE: Self =
        Self { of_weight: [[0.0; SIDE_BY_SIDE]; MOST_SIDE_BY_SIDE], of_bias: [[0.0; SIDE_BY_SIDE]; MOST_SIDE_BY_SIDE] };
}

impl ColumnSums for LaneSums {
    const MOST_RUNS: usize = BLOCK_ROWS * SIDE_BY_SIDE;

    #[inline(always)]
    fn write_gradients(&mut self, simd: impl Simd, runs: Runs<'_>) {
        simd.vectorize(WriteBatches { runs, sums: self });
    }

    fn flush(&mut self, base: usize, d: usize, found: &mut Found) {
        let all = |lanes: &Lanes<SIDE_BY_SIDE>| lanes.iter().copied().map(f64::from).sum();
        for (j, (of_weight, of_bias)) in self.of_weight.iter().zip(&self.of_bias).take(d).enumerate() {
            found.parameters.add(base + j, [all(of_weight), all(of_bias)]);
        }
        *self = Self::NONE;
    }
}

/// Writes the gradients of runs that fill batches.
struct WriteBatches<'a> {
    runs: Runs<'a>,
    sums: &'a mut LaneSums,
}

impl WithSimd for WriteBatches<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let d = self.runs.given[2].len();
        match d {
            1 => self.batches(1),
            2 => self.batches(2),
            3 => self.batches(3),
            4 => self.batches(4),
            5 => self.batches(5),
            6 => self.batches(6),
            // Longer ones do not come here.
            _ => self.batches(MOST_SIDE_BY_SIDE),
        }
    }
}

impl WriteBatches<'_> {
    /// The compiler does without loops over elements where it knows `d`.
    #[inline(always)]
    fn batches(self, d: usize) {
        let Runs { groups, first, given: [x, g, weight], output } = self.runs;
        let (weight, len) = (&weight[..d], SIDE_BY_SIDE * d);
        let given = x.chunks_exact(len).zip(g.chunks_exact(len));
        for (i, (y, (x, g))) in output.chunks_exact_mut(len).zip(given).enumerate() {
            write_batch(groups, first + i * SIDE_BY_SIDE, [x, g, weight], y, self.sums);
        }
    }
}

/// Writes the gradients of a batch of runs, the first of which is run `first`, and adds up what their parameters need.
#[inline(always)]
fn write_batch(groups: &Groups<'_>, first: usize, [x, g, weight]: [&[f32]; 3], y: &mut [f32], sums: &mut LaneSums) {
    let d = weight.len();
    let (mut distances, mut gradients) =
        ([[0.0; SIDE_BY_SIDE]; MOST_SIDE_BY_SIDE], [[0.0; SIDE_BY_SIDE]; MOST_SIDE_BY_SIDE]);
    let (distances, gradients) = (&mut distances[..d], &mut gradients[..d]);
    side_by_side(x, distances);
    side_by_side(g, gradients);
    let scales = groups.scales(first);
    let sums_in_f32 = weigh_and_add([distances, gradients], weight, &scales, sums);
    let through = groups.through_each(first, sums_in_f32, &scales);
    let ([of_gradient, of_distance, offset], all_keep_digits) = fold_each(&scales, &through);
    for (distance, gradient) in distances.iter_mut().zip(gradients) {
        for k in 0..SIDE_BY_SIDE {
            distance[k] = gradient[k] * of_gradient[k] - distance[k] * of_distance[k] + offset[k];
        }
    }
    one_after_another(distances, y);
    if !all_keep_digits {
        mend([x, g, weight], &scales, &through, y);
    }
}

/// Takes values about their heads and gradients times weights, in place, and gives each run's sums of these gradients
/// times normalized values, and of these gradients.
#[inline(always)]
fn weigh_and_add(
    [distances, gradients]: [&mut [Lanes<SIDE_BY_SIDE>]; 2],
    weight: &[f32],
    Scales { heads, tails, rstds }: &Scales<SIDE_BY_SIDE>,
    sums: &mut LaneSums,
) -> [Lanes<SIDE_BY_SIDE>; 2] {
    let (mut of_products, mut of_gradients) = ([[0.0; SIDE_BY_SIDE]; FEW], [[0.0; SIDE_BY_SIDE]; FEW]);
    for (j, ((distance, gradient), weight)) in distances.iter_mut().zip(gradients).zip(weight).enumerate() {
        let (of_weight, of_bias) = (&mut sums.of_weight[j], &mut sums.of_bias[j]);
        let (product, weighted) = (&mut of_products[j], &mut of_gradients[j]);
        for k in 0..SIDE_BY_SIDE {
            distance[k] -= heads[k];
            of_weight[k] += gradient[k] * ((distance[k] - tails[k]) * rstds[k]);
            of_bias[k] += gradient[k];
            gradient[k] *= weight;
            product[k] += gradient[k] * (distance[k] * rstds[k]);
            weighted[k] += gradient[k];
        }
    }
    [totals(of_products), totals(of_gradients)]
}
