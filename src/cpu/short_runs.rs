//! Groups of one short run each: some of them at a time, stage by stage, so that no run waits for the one before it.

use super::Job;
use super::ahead::{self, Ahead};
use super::element::{Element, block_of};
use super::lanes::{HALF, Lanes, SIDE_BY_SIDE, Scales, added_up, half_of, one_after_another, side_by_side, totals};
use super::moments::{Moments, Scale, float, in_range};
use super::parallel::{self, TASK};
use super::row_kernels::{Affine, BLOCK, FEW, LANES, MOST_OF_FEW, head, head_len, head_sums, scale_each, sums_about};
use super::rows::{Buffers, affine};
use crate::plan::{Statistic, View};
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;

/// Elements of a batch of more than one run at most: more would let memory wait while a batch is written.
const BATCH_ELEMENTS: usize = 512;

/// Elements of a run of such a batch at most.
const LONGEST_OF_BATCH: usize = BATCH_ELEMENTS / 4;

const _: () = assert!(LONGEST_OF_BATCH <= MOST_OF_FEW, "runs of a batch have the bits of those that are in none");

/// Elements of a run at least; shorter ones are taken as columns.
const LEAST: usize = 2;

/// Whether statistics are those of one short run each.
pub(super) fn suit(view: View) -> bool {
    view.b == 1 && (LEAST..=BLOCK).contains(&view.d)
}

/// Normalizes with the input's own statistics, and returns them where they are wanted.
pub(super) fn normalize<T: Element>(job: &Job<'_, T>, output: &mut [T], wanted: bool) -> Vec<Moments> {
    let View { c, d, .. } = job.view;
    let groups = (TASK / d).max(1);
    let mut moments = vec![Moments::NONE; if wanted { job.view.statistics() } else { 0 }];
    let mut wanted_moments = moments.chunks_mut(groups);
    let shared = job.parameters.same_for_every_run().then(|| affine(job, (0, 0, 0)));
    let tasks =
        output.chunks_mut(groups * d).enumerate().map(|(i, output)| (i * groups, output, wanted_moments.next()));
    parallel::each(job.threads, tasks, |(first, output, moments)| {
        job.simd.dispatch(NormalizeRuns {
            input: job.input.map(|x| &x[first * d..first * d + output.len()]),
            output,
            d,
            statistic: job.statistic,
            eps: job.eps,
            shared,
            asks_ahead: ahead::pays::<T>(job.view, job.threads),
            affine: |i| affine(job, ((first + i) / c, 0, (first + i) % c)),
            moments: moments.unwrap_or_default(),
            buffers: &mut Buffers::new(job, d.max(BATCH_ELEMENTS)),
        });
    });
    moments
}

/// Normalizes runs of `d` elements that follow each other.
#[derive(Debug)]
struct NormalizeRuns<'a, T, F> {
    /// `None` where `output` holds the input.
    input: Option<&'a [T]>,
    output: &'a mut [T],
    d: usize,
    statistic: Statistic,
    eps: f64,
    /// Whether memory of what is read next and of the output is asked for ahead: a batch's at once, a run's in steps.
    asks_ahead: bool,
    /// What happens to the elements of every run, or of run `i`.
    shared: Option<Affine<'a>>,
    affine: F,
    /// As many as there are runs, or none.
    moments: &'a mut [Moments],
    /// For a batch.
    buffers: &'a mut Buffers,
}

impl<'a, T: Element, F: Fn(usize) -> Affine<'a>> WithSimd for NormalizeRuns<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        // The compiler does without remainders where it knows how long runs are.
        let d = self.d;
        let first = match d {
            2 => self.batches::<SIDE_BY_SIDE, FEW>(simd, 2, 0),
            3 => self.batches::<SIDE_BY_SIDE, FEW>(simd, 3, 0),
            4 => self.batches::<SIDE_BY_SIDE, FEW>(simd, 4, 0),
            5 => self.batches::<SIDE_BY_SIDE, FEW>(simd, 5, 0),
            6 => self.batches::<SIDE_BY_SIDE, FEW>(simd, 6, 0),
            7 => self.batches::<SIDE_BY_SIDE, FEW>(simd, 7, 0),
            8 => self.batches::<SIDE_BY_SIDE, FEW>(simd, 8, 0),
            16 => self.batches::<8, FEW>(simd, 16, 0),
            32 => self.batches::<8, FEW>(simd, 32, 0),
            9..16 => self.batches::<8, FEW>(simd, d, 0),
            17..24 => self.batches::<8, FEW>(simd, d, 0),
            24..32 => self.batches::<8, FEW>(simd, d, 0),
            64 => self.batches::<8, FEW>(simd, 64, 0),
            128 => self.batches::<4, FEW>(simd, 128, 0),
            _ if d <= BATCH_ELEMENTS / 8 => self.batches::<8, FEW>(simd, d, 0),
            _ if d <= LONGEST_OF_BATCH => self.batches::<4, FEW>(simd, d, 0),
            _ => 0,
        };
        if d <= MOST_OF_FEW {
            self.batches::<1, FEW>(simd, d, first);
        } else {
            self.batches::<1, LANES>(simd, d, first);
        }
    }
}

impl<'a, T: Element, F: Fn(usize) -> Affine<'a>> NormalizeRuns<'_, T, F> {
    /// Normalizes batches of `N` runs, as many as there are from run `first` on, and says which run comes after them.
    /// `N` changes no bit.
    #[inline(always)]
    fn batches<const N: usize, const L: usize>(&mut self, simd: impl Simd, d: usize, first: usize) -> usize {
        let (len, centred) = (N * d, self.statistic.is_centred());
        let mut lanes = [[0.0; N]; FEW];
        let lanes = &mut lanes[..d.min(FEW)];
        let Buffers { wide, results, past } = &mut *self.buffers;
        let past = past.as_ref();
        // Told apart before the loop: a copy of `Affine` for each run took more than half of the time of 16 elements.
        let one_each = self.shared.filter(|affine| N > 1 && affine.is_one_each());
        let one_each = one_each.map(|Affine { weight, bias, .. }| (&weight[..d], &bias[..d]));
        let mut run = first;
        for to in self.output[first * d..].chunks_exact_mut(len) {
            let input = self.input.map(|input| &input[run * d..run * d + len]);
            let next = self.asks_ahead.then(|| Ahead::of(input.unwrap_or(to)).skip(len));
            let of_results = (self.asks_ahead && input.is_some() && past.is_none()).then(|| Ahead::of(to));
            if N > 1 {
                next.into_iter().chain(of_results).for_each(|memory| memory.ask(len));
            }
            let x = block_of(input, to, wide);
            let moments = if N == SIDE_BY_SIDE {
                side_by_side(x, lanes);
                BatchMoments::side_by_side(lanes, x, centred)
            } else {
                BatchMoments::of::<L>(x, d, centred, of_results.filter(|_| N == 1))
            };
            let scales = moments.scales(self.statistic, self.eps);
            let y = T::target(to, results, past);
            match one_each {
                Some(parameters) if N == SIDE_BY_SIDE => apply(&scales, lanes, parameters, y),
                Some((weight, bias)) => {
                    for (k, (x, y)) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)).enumerate() {
                        scale_each(x, y, scales.get(k), weight, bias);
                    }
                }
                None => simd.vectorize(ApplyEach {
                    shared: self.shared.as_ref(),
                    affine: &self.affine,
                    first: run,
                    d,
                    x,
                    y,
                    scales: [&scales.heads, &scales.tails, &scales.rstds],
                    next: next.filter(|_| N == 1),
                    stored_as: PhantomData::<T>,
                }),
            }
            T::finish(to, results, past);
            if let Some(found) = self.moments.get_mut(run..run + N) {
                found.iter_mut().enumerate().for_each(|(k, found)| *found = moments.get(k));
            }
            run += N;
        }
        run
    }
}

/// Scales runs that follow each other, whatever else happens to them: compiled once, for runs of any length.
struct ApplyEach<'r, T, F> {
    shared: Option<&'r Affine<'r>>,
    affine: &'r F,
    first: usize,
    d: usize,
    x: &'r [f32],
    y: &'r mut [f32],
    /// Heads, tails and rstds.
    scales: [&'r [f32]; 3],
    next: Option<Ahead>,
    stored_as: PhantomData<T>,
}

impl<'a, T: Element, F: Fn(usize) -> Affine<'a>> WithSimd for ApplyEach<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { shared, affine, first, d, x, y, scales: [heads, tails, rstds], next, .. } = self;
        for (k, (x, y)) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)).enumerate() {
            let own;
            let affine = match shared {
                Some(shared) => shared,
                None => {
                    own = affine(first + k);
                    &own
                }
            };
            let scale = Scale { head: heads[k], tail: tails[k], rstd: rstds[k] };
            affine.apply_ahead::<T>(x, y, scale, 0, next);
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
struct BatchMoments<const N: usize> {
    count: f64,
    means: [f64; N],
    squares: [f64; N],
}

impl<const N: usize> BatchMoments<N> {
    /// Those of runs of `d` elements, stage by stage for all of them.
    #[inline(always)]
    fn of<const L: usize>(x: &[f32], d: usize, centred: bool, output: Option<Ahead>) -> Self {
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
            let [sum, square] = sums_about::<L>(x, heads[k], output);
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

    #[inline(always)]
    fn get(&self, k: usize) -> Moments {
        Moments { count: self.count, mean: self.means[k], squares: self.squares[k] }
    }

    #[inline(always)]
    fn scales(&self, statistic: Statistic, eps: f64) -> Scales<N> {
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
