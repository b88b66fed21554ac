//! Gradients of groups of one run of a few elements each, whose columns have parameters of their own that all runs share:
//! runs lie side by side, a lane each, so that none of them adds its lanes up.

use super::element::Element;
use super::gradient::{BLOCK_ROWS, Found, Job};
use super::gradient_batch::{fold_each, mend, scales_of, through_statistics};
use super::gradient_kernels::add_inflow;
use super::gradient_short_runs::Buffers;
use super::lanes::{Lanes, SIDE_BY_SIDE, Scales, one_after_another, side_by_side, totals};
use super::row_kernels::FEW;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Elements of a run at most.
pub(super) const MOST_SIDE_BY_SIDE: usize = FEW - 1;

/// What columns' own parameters need, of every lane's runs.
#[derive(Debug)]
struct Sums<const N: usize> {
    of_weight: [Lanes<N>; MOST_SIDE_BY_SIDE],
    of_bias: [Lanes<N>; MOST_SIDE_BY_SIDE],
}

impl<const N: usize> Sums<N> {
    const NONE: Self = Self { of_weight: [[0.0; N]; MOST_SIDE_BY_SIDE], of_bias: [[0.0; N]; MOST_SIDE_BY_SIDE] };

    /// Hands the sums of the parameters from `base` on to f64.
    fn flush(&mut self, base: usize, d: usize, found: &mut Found) {
        let all = |lanes: &Lanes<N>| lanes.iter().copied().map(f64::from).sum();
        for (j, (of_weight, of_bias)) in self.of_weight.iter().zip(&self.of_bias).take(d).enumerate() {
            found.parameters.add(base + j, [all(of_weight), all(of_bias)]);
        }
        *self = Self::NONE;
    }
}

impl<T: Element> Job<'_, T> {
    /// Writes the gradients of these runs, as many of them as fill batches, and adds up what their parameters need. Gives
    /// the first run that is left.
    pub(super) fn write_side_by_side(
        &self,
        runs: Range<usize>,
        output: &mut [T],
        buffers: &mut Buffers,
        found: &mut Found,
    ) -> usize {
        let (d, base) = (self.view.d, self.base(0, 0));
        if d > MOST_SIDE_BY_SIDE {
            return runs.start;
        }
        let mut sums = Sums::NONE;
        let mut first = runs.start;
        for output in output[..runs.len() / SIDE_BY_SIDE * SIDE_BY_SIDE * d].chunks_mut(BLOCK_ROWS * SIDE_BY_SIDE * d) {
            let count = output.len() / d;
            self.simd.dispatch(WriteBatches { job: self, base, first, output, sums: &mut sums, buffers });
            if self.wants_parameters {
                sums.flush(base, d, found);
            }
            first += count;
        }
        first
    }
}

/// Writes the gradients of batches of runs.
struct WriteBatches<'a, 'j, T> {
    job: &'a Job<'j, T>,
    /// The parameter of a run's first column, and the first run.
    base: usize,
    first: usize,
    output: &'a mut [T],
    sums: &'a mut Sums<SIDE_BY_SIDE>,
    buffers: &'a mut Buffers,
}

impl<T: Element> WithSimd for WriteBatches<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        // The compiler does without loops over elements where it knows how many there are.
        match self.job.view.d {
            2 => self.batches(2),
            3 => self.batches(3),
            4 => self.batches(4),
            5 => self.batches(5),
            6 => self.batches(6),
            7 => self.batches(7),
            d => self.batches(d),
        }
    }
}

impl<T: Element> WriteBatches<'_, '_, T> {
    #[inline(always)]
    fn batches(self, d: usize) {
        let Self { job, base, first, output, sums, buffers } = self;
        let Buffers { wide: [wide_x, wide_g], results, .. } = buffers;
        let weight = &job.parameters.weight[base..][..d];
        for (i, output) in output.chunks_exact_mut(SIDE_BY_SIDE * d).enumerate() {
            let first = first + i * SIDE_BY_SIDE;
            let at = first * d..(first + SIDE_BY_SIDE) * d;
            let (x, g) = (T::read(&job.x[at.clone()], wide_x), T::read(&job.upstream[at.clone()], wide_g));
            let y = T::target(output, results, None);
            write_batch(job, first, [x, g, weight], y, sums);
            add_inflow(job.inflow.map(|inflow| &inflow[at]), y, wide_x);
            T::finish(output, results, None);
        }
    }
}

/// Writes the gradients of a batch of runs, the first of which is run `first`, and adds up what their parameters need.
#[inline(always)]
fn write_batch<T: Element>(
    job: &Job<'_, T>,
    first: usize,
    [x, g, weight]: [&[f32]; 3],
    y: &mut [f32],
    sums: &mut Sums<SIDE_BY_SIDE>,
) {
    let d = weight.len();
    let (mut distances, mut gradients) =
        ([[0.0; SIDE_BY_SIDE]; MOST_SIDE_BY_SIDE], [[0.0; SIDE_BY_SIDE]; MOST_SIDE_BY_SIDE]);
    let (distances, gradients) = (&mut distances[..d], &mut gradients[..d]);
    side_by_side(x, distances);
    side_by_side(g, gradients);
    let scales = scales_of(job, first);
    let sums_in_f32 = weigh_and_add([distances, gradients], weight, &scales, sums);
    let through = through_statistics(job, first, sums_in_f32, &scales);
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
fn weigh_and_add<const N: usize>(
    [distances, gradients]: [&mut [Lanes<N>]; 2],
    weight: &[f32],
    Scales { heads, tails, rstds }: &Scales<N>,
    sums: &mut Sums<N>,
) -> [Lanes<N>; 2] {
    let (mut of_products, mut of_gradients) = ([[0.0; N]; FEW], [[0.0; N]; FEW]);
    for (j, ((distance, gradient), weight)) in distances.iter_mut().zip(gradients).zip(weight).enumerate() {
        let (of_weight, of_bias) = (&mut sums.of_weight[j], &mut sums.of_bias[j]);
        let (product, weighted) = (&mut of_products[j], &mut of_gradients[j]);
        for k in 0..N {
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
