//! Batches of short runs, stage by stage, so that no run waits for the one before it. In f32: compiled once for all that
//! tensors are stored as.

use super::ahead::Ahead;
use super::lanes::{HALF, Lanes, SIDE_BY_SIDE, Scales, added_up, half_of, one_after_another, side_by_side, totals};
use super::moments::{Moments, Scale, float, in_range};
use super::row_apply::scale_few;
use super::row_kernels::{FEW, MOST_OF_FEW, head, head_len, head_sums, sums_about};
use crate::plan::Statistic;
use pulp::{Simd, WithSimd};

/// Elements of a batch at most: more would let memory wait while a batch is worked on.
const MOST_ELEMENTS: usize = 512;

/// Elements of a run of a batch at most.
pub(super) const LONGEST: usize = MOST_ELEMENTS / 4;

const _: () = assert!(LONGEST <= MOST_OF_FEW, "runs of a batch have the bits of those that are in none");

/// How many runs of `d` elements are a batch.
pub(super) const fn runs_of_batch(d: usize) -> usize {
    match d {
        0..=FEW => SIDE_BY_SIDE,
        _ if d <= MOST_ELEMENTS / 8 => 8,
        _ => MOST_ELEMENTS / LONGEST,
    }
}

/// What is done to each run, of `d` elements.
#[derive(Clone, Copy)]
pub(super) struct Rule<'r> {
    pub(super) d: usize,
    pub(super) statistic: Statistic,
    pub(super) eps: f64,
    /// Weight and bias, where every column has its own and nothing else happens.
    pub(super) one_each: Option<(&'r [f32], &'r [f32])>,
    /// Scales the runs of a batch otherwise, the first of which is this run.
    pub(super) other: &'r dyn Fn(usize, Batch<'_>),
}

/// Elements of a batch, where its results go, and what scales each of its runs.
pub(super) struct Batch<'r> {
    pub(super) x: &'r [f32],
    pub(super) y: &'r mut [f32],
    /// Heads, tails and rstds.
    pub(super) scales: [&'r [f32]; 3],
}

/// Normalizes runs that follow each other and fill batches.
pub(super) struct Batches<'r> {
    pub(super) rule: Rule<'r>,
    /// The first run.
    pub(super) first: usize,
    pub(super) x: &'r [f32],
    pub(super) y: &'r mut [f32],
    /// Memory that is asked for meanwhile, as much of it as there are elements.
    pub(super) ahead: [Option<Ahead>; 2],
    /// As many as there are runs, or none.
    pub(super) moments: &'r mut [Moments],
}

impl WithSimd for Batches<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let d = self.rule.d;
        match d {
            2 => self.batches::<{ runs_of_batch(2) }>(2),
            3 => self.batches::<{ runs_of_batch(3) }>(3),
            4 => self.batches::<{ runs_of_batch(4) }>(4),
            5 => self.batches::<{ runs_of_batch(5) }>(5),
            6 => self.batches::<{ runs_of_batch(6) }>(6),
            7 => self.batches::<{ runs_of_batch(7) }>(7),
            8 => self.batches::<{ runs_of_batch(8) }>(8),
            16 => self.batches::<{ runs_of_batch(16) }>(16),
            32 => self.batches::<{ runs_of_batch(32) }>(32),
            64 => self.batches::<{ runs_of_batch(64) }>(64),
            128 => self.batches::<{ runs_of_batch(128) }>(128),
            9..16 => self.batches::<{ runs_of_batch(9) }>(d),
            17..24 => self.batches::<{ runs_of_batch(17) }>(d),
            24..32 => self.batches::<{ runs_of_batch(24) }>(d),
            _ if runs_of_batch(d) == runs_of_batch(33) => self.batches::<{ runs_of_batch(33) }>(d),
            // Longer ones do not come here.
            _ => self.batches::<{ runs_of_batch(LONGEST) }>(d),
        }
    }
}

impl Batches<'_> {
    /// `N` runs at a time, which changes no bit. The compiler does without remainders where it knows `d`.
    #[inline(always)]
    fn batches<const N: usize>(self, d: usize) {
        let Self { rule, first, x, y, ahead, moments: found } = self;
        let (len, centred) = (N * d, rule.statistic.is_centred());
        let one_each = rule.one_each.map(|(weight, bias)| (&weight[..d], &bias[..d]));
        let mut lanes = [[0.0; N]; FEW];
        let lanes = &mut lanes[..d.min(FEW)];
        for (i, (x, y)) in x.chunks_exact(len).zip(y.chunks_exact_mut(len)).enumerate() {
            for memory in ahead.iter().flatten() {
                memory.skip(i * len).ask(len);
            }
            let moments = if N == SIDE_BY_SIDE {
                side_by_side(x, lanes);
                BatchMoments::side_by_side(lanes, x, centred)
            } else {
                BatchMoments::<N>::of::<FEW>(x, d, centred, None)
            };
            let scales = moments.scales(rule.statistic, rule.eps);
            match one_each {
                Some(parameters) if N == SIDE_BY_SIDE => apply(&scales, lanes, parameters, y),
                Some((weight, bias)) => {
                    for (k, (x, y)) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)).enumerate() {
                        scale_few(x, y, scales.get(k), weight, bias);
                    }
                }
                None => {
                    (rule.other)(first + i * N, Batch { x, y, scales: scales.each() });
                }
            }
            if let Some(found) = found.get_mut(i * N..(i + 1) * N) {
                for (k, found) in found.iter_mut().enumerate() {
                    *found = moments.get(k);
                }
            }
        }
    }
}

/// Scales runs that lie side by side, in place, and writes them one after the other.
#[inline(always)]
fn apply<const N: usize>(scales: &Scales<N>, lanes: &mut [Lanes<N>], (weight, bias): (&[f32], &[f32]), y: &mut [f32]) {
    for ((lane, &weight), &bias) in lanes.iter_mut().zip(weight).zip(bias) {
        // Results are nobody else's memory, so the compiler need not ask whether they are.
        let mut results = [0.0; N];
        for (k, result) in results.iter_mut().enumerate() {
            *result = (lane[k] - scales.heads[k] - scales.tails[k]) * scales.rstds[k] * weight + bias;
        }
        *lane = results;
    }
    one_after_another(lanes, y);
}

/// The moments of `N` runs of as many elements.
pub(super) struct BatchMoments<const N: usize> {
    count: f64,
    means: [f64; N],
    squares: [f64; N],
}

impl<const N: usize> BatchMoments<N> {
    /// Those of runs of `d` elements, stage by stage for all of them.
    #[inline(always)]
    pub(super) fn of<const L: usize>(x: &[f32], d: usize, centred: bool, output: Option<Ahead>) -> Self {
        let (mut heads, mut sums, mut squares) = ([0.0; N], [[0.0; HALF]; N], [[0.0; HALF]; N]);
        if centred {
            for (sum, x) in sums.iter_mut().zip(x.chunks_exact(d)) {
                *sum = half_of(head_sums::<L>(x));
            }
            let sums = added_up(&sums);
            for k in 0..N {
                heads[k] = head(x[k * d], sums[k], head_len::<L>(d));
            }
        }
        for (k, x) in x.chunks_exact(d).enumerate() {
            let [sum, square] = sums_about::<L>(x, heads[k], output.map(|output| output.skip(k * d)));
            (sums[k], squares[k]) = (half_of(sum), half_of(square));
        }
        Self::about(heads, added_up(&sums), added_up(&squares), x, centred)
    }

    /// From the sums about each run's head.
    #[inline(always)]
    fn about(heads: [f32; N], sums: [f32; N], squares: [f32; N], x: &[f32], centred: bool) -> Self {
        let d = x.len() / N;
        let mut all = Self { count: float(d), means: [0.0; N], squares: [0.0; N] };
        let mut are_in_range = true;
        for k in 0..N {
            let moments = Moments::about(heads[k], all.count, sums[k], squares[k], centred);
            (all.means[k], all.squares[k]) = (moments.mean, moments.squares);
            are_in_range &= in_range(squares[k]);
        }
        if !are_in_range {
            for (k, x) in x.chunks_exact(d).enumerate().filter(|(k, _)| !in_range(squares[*k])) {
                let moments = Moments::in_f64(x.iter().copied(), centred);
                (all.means[k], all.squares[k]) = (moments.mean, moments.squares);
            }
        }
        all
    }

    /// Those of run `k`.
    #[inline(always)]
    pub(super) fn get(&self, k: usize) -> Moments {
        Moments { count: self.count, mean: self.means[k], squares: self.squares[k] }
    }

    /// How each run is scaled.
    #[inline(always)]
    pub(super) fn scales(&self, statistic: Statistic, eps: f64) -> Scales<N> {
        let divisor = statistic.divisor(self.count);
        let mut scales = Scales::UNKNOWN;
        for k in 0..N {
            scales.set(k, Scale::new(self.means[k], self.squares[k] / divisor, eps));
        }
        scales
    }

    /// Those of runs `x` of at most [`FEW`] elements, of which `lanes` holds each run in a lane: as [`of`](Self::of) has them.
    #[inline(always)]
    fn side_by_side(lanes: &[Lanes<N>], x: &[f32], centred: bool) -> Self {
        let mut heads = [0.0; N];
        if centred {
            let mut sums = [[0.0; N]; FEW];
            for (sum, lane) in sums.iter_mut().zip(lanes) {
                for k in 0..N {
                    sum[k] += lane[k] - lanes[0][k];
                }
            }
            let sums = totals(sums);
            for k in 0..N {
                heads[k] = head(lanes[0][k], sums[k], lanes.len());
            }
        }
        let (mut sums, mut squares) = ([[0.0; N]; FEW], [[0.0; N]; FEW]);
        for ((sum, square), lane) in sums.iter_mut().zip(&mut squares).zip(lanes) {
            for k in 0..N {
                let distance = lane[k] - heads[k];
                sum[k] += distance;
                square[k] += distance * distance;
            }
        }
        Self::about(heads, totals(sums), totals(squares), x, centred)
    }
}
