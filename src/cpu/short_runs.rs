//! Groups of one short run each: a batch of them at a time, or a few.

use super::Job;
use super::ahead::{self, Ahead, beyond};
use super::element::{Element, block_of};
use super::moments::{Moments, Scale};
use super::parallel::{self, TASK};
use super::row_apply::{Affine, Stretch};
use super::row_kernels::{BLOCK, FEW, LANES, MOST_OF_FEW};
use super::rows::{Buffers, affine};
use super::short_batches::{Batch, BatchMoments, Batches, LONGEST, Rule, runs_of_batch};
use crate::plan::{Statistic, View};
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;

/// Elements, of whole batches, for which a kernel is called once. Of many more what is widened, and what waits for being narrowed
/// or brought past the caches, would leave the nearest cache.
pub(super) const AT_ONCE: usize = 1024;

/// How many runs of `d` elements, too long for batches, are normalized together: what the nearest cache holds of them.
const fn together(d: usize) -> usize {
    if d <= BLOCK / 2 { 4 } else { 2 }
}

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
        let len = if d > LONGEST { (together(d) * d).min(output.len()) } else { AT_ONCE.min(output.len()).max(d) };
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
            buffers: &mut Buffers::new(job, len),
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
    /// Whether memory of what is read next and of the output is asked for ahead.
    asks_ahead: bool,
    /// What happens to the elements of every run, or of run `i`.
    shared: Option<Affine<'a>>,
    affine: F,
    /// As many as there are runs, or none.
    moments: &'a mut [Moments],
    /// For as many elements as are widened or narrowed together.
    buffers: &'a mut Buffers,
}

impl<'a, T: Element, F: Fn(usize) -> Affine<'a>> WithSimd for NormalizeRuns<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let first = if self.d <= LONGEST { self.in_batches(simd) } else { 0 };
        if self.d <= MOST_OF_FEW {
            self.few_by_few::<FEW, 1>(simd, first);
        } else {
            let first = match together(self.d) {
                4 => self.few_by_few::<LANES, 4>(simd, first),
                _ => self.few_by_few::<LANES, 2>(simd, first),
            };
            self.few_by_few::<LANES, 1>(simd, first);
        }
    }
}

impl<'a, T: Element, F: Fn(usize) -> Affine<'a>> NormalizeRuns<'_, T, F> {
    /// Normalizes as many runs as fill batches, and says which comes after them.
    #[inline(always)]
    fn in_batches(&mut self, simd: impl Simd) -> usize {
        let Self { input, output, d, statistic, eps, asks_ahead, shared, affine, moments, buffers } = self;
        let (d, shared) = (*d, shared.as_ref());
        let other = |first, batch: Batch<'_>| {
            simd.vectorize(ApplyEach { shared, affine, first, d, batch, next: None, stored_as: PhantomData::<T> });
        };
        // Told apart once: what else happens took more than half of the time of 16 elements, copied for each run.
        let one_each = shared.filter(|affine| affine.is_one_each()).map(|affine| (affine.weight, affine.bias));
        let rule = Rule { d, statistic: *statistic, eps: *eps, one_each, other: &other };
        let Buffers { wide, results, past } = &mut **buffers;
        let past = past.as_ref();
        let batch = runs_of_batch(d) * d;
        let (block, whole) = (AT_ONCE / batch * batch, output.len() / batch * batch);
        for (i, to) in output[..whole].chunks_mut(block).enumerate() {
            let (first, runs) = (i * block / d, to.len() / d);
            let input = input.map(|input| &input[i * block..][..to.len()]);
            let ahead = if *asks_ahead { beyond(input, to, past) } else { [None; 2] };
            let moments = moments.get_mut(first..first + runs).unwrap_or_default();
            let (x, y) = (block_of(input, to, wide), T::target(to, results, past));
            simd.vectorize(Batches { rule, first, x, y, ahead, moments });
            T::finish(to, results, past);
        }
        whole / d
    }

    /// Normalizes `N` runs at a time, which changes no bit, from run `first` on, and says which comes after the last of them.
    #[inline(always)]
    fn few_by_few<const L: usize, const N: usize>(&mut self, simd: impl Simd, mut first: usize) -> usize {
        let d = self.d;
        let Buffers { wide, results, past } = &mut *self.buffers;
        let past = past.as_ref();
        for to in self.output[first * d..].chunks_exact_mut(N * d) {
            let input = self.input.map(|input| &input[first * d..(first + N) * d]);
            let [next, of_results] = if self.asks_ahead { beyond(input, to, past) } else { [None; 2] };
            let x = block_of(input, to, wide);
            let moments = BatchMoments::<N>::of::<L>(x, d, self.statistic.is_centred(), of_results);
            let scales = moments.scales(self.statistic, self.eps);
            simd.vectorize(ApplyEach {
                shared: self.shared.as_ref(),
                affine: &self.affine,
                first,
                d,
                batch: Batch { x, y: T::target(to, results, past), scales: scales.each() },
                next,
                stored_as: PhantomData::<T>,
            });
            T::finish(to, results, past);
            for (k, found) in self.moments.iter_mut().skip(first).take(N).enumerate() {
                *found = moments.get(k);
            }
            first += N;
        }
        first
    }
}

/// Scales runs that follow each other, whatever else happens to them: compiled once, for runs of any length.
struct ApplyEach<'r, T, F> {
    shared: Option<&'r Affine<'r>>,
    affine: &'r F,
    /// The first run.
    first: usize,
    d: usize,
    batch: Batch<'r>,
    next: Option<Ahead>,
    stored_as: PhantomData<T>,
}

impl<'a, T: Element, F: Fn(usize) -> Affine<'a>> WithSimd for ApplyEach<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { shared, affine, first, d, batch: Batch { x, y, scales: [heads, tails, rstds] }, next, .. } = self;
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
            let next = next.map(|next| next.skip(k * d));
            affine.apply_ahead::<T, S>(simd, x, y, Stretch { scale, from: 0, next });
        }
    }
}
