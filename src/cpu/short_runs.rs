//! Groups of one short run each: a batch of them at a time, or each by itself.

use super::Job;
use super::ahead::{self, Ahead};
use super::element::{Element, block_of};
use super::moments::{Moments, Scale};
use super::parallel::{self, TASK};
use super::row_kernels::{Affine, BLOCK, FEW, LANES, MOST_OF_FEW};
use super::rows::{Buffers, affine};
use super::short_batches::{Batch, BatchMoments, Batches, LONGEST, Rule, runs_of_batch};
use crate::plan::{Statistic, View};
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;

/// Elements that are widened, normalized and narrowed together, where they are not stored in f32.
const BLOCK_ELEMENTS: usize = 1024;

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
        let len = BLOCK_ELEMENTS.min(output.len()).max(d);
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
        let first = if self.d <= LONGEST { self.in_batches(simd) } else { 0 };
        if self.d <= MOST_OF_FEW {
            self.one_by_one::<FEW>(simd, first);
        } else {
            self.one_by_one::<LANES>(simd, first);
        }
    }
}

impl<'a, T: Element, F: Fn(usize) -> Affine<'a>> NormalizeRuns<'_, T, F> {
    /// Normalizes as many runs as fill batches, and says which comes after them.
    #[inline(always)]
    fn in_batches(&mut self, simd: impl Simd) -> usize {
        let Self { input, output, d, statistic, eps, asks_ahead, shared, affine, moments, buffers } = self;
        let (d, shared, asks_ahead) = (*d, shared.as_ref(), *asks_ahead);
        let other = |first, Batch { x, y, scales }: Batch<'_>| {
            simd.vectorize(ApplyEach {
                shared,
                affine,
                first,
                d,
                x,
                y,
                scales,
                next: None,
                stored_as: PhantomData::<T>,
            });
        };
        let one_each = shared.filter(|affine| affine.is_one_each()).map(|affine| (affine.weight, affine.bias));
        let rule = Rule { d, statistic: *statistic, eps: *eps, one_each, other: &other };
        let batch = runs_of_batch(d) * d;
        let output = {
            let whole = output.len() / batch * batch;
            &mut output[..whole]
        };
        let runs = output.len() / d;
        if T::IS_F32 {
            let input = input.map(|input| T::read(input, &mut []));
            let output = T::target(output, &mut [], None);
            simd.vectorize(Batches { rule, first: 0, input, output, asks_ahead, moments, buffers });
            return runs;
        }
        let Buffers { wide, results, past } = &mut **buffers;
        let past = past.as_ref();
        let (block, mut no_buffers) = (BLOCK_ELEMENTS / batch * batch, Buffers::NONE);
        for (i, to) in output.chunks_mut(block).enumerate() {
            let (first, len) = (i * block / d, to.len());
            let input = input.map(|input| &input[i * block..][..len]);
            if asks_ahead {
                Ahead::of(input.unwrap_or(to)).skip(len).ask(len);
            }
            if asks_ahead && input.is_some() && past.is_none() {
                Ahead::of(to).ask(len);
            }
            simd.vectorize(Batches {
                rule,
                first,
                input: Some(block_of(input, to, wide)),
                output: T::target(to, results, past),
                asks_ahead: false,
                moments: moments.get_mut(first..first + len / d).unwrap_or_default(),
                buffers: &mut no_buffers,
            });
            T::finish(to, results, past);
        }
        runs
    }

    /// Normalizes each run from run `first` on by itself.
    #[inline(always)]
    fn one_by_one<const L: usize>(&mut self, simd: impl Simd, first: usize) {
        let d = self.d;
        let Buffers { wide, results, past } = &mut *self.buffers;
        let past = past.as_ref();
        for (run, to) in (first..).zip(self.output[first * d..].chunks_exact_mut(d)) {
            let input = self.input.map(|input| &input[run * d..(run + 1) * d]);
            let next = self.asks_ahead.then(|| Ahead::of(input.unwrap_or(to)).skip(d));
            let of_results = (self.asks_ahead && input.is_some() && past.is_none()).then(|| Ahead::of(to));
            let x = block_of(input, to, wide);
            let moments = BatchMoments::<1>::of::<L>(x, d, self.statistic.is_centred(), of_results);
            let scales = moments.scales(self.statistic, self.eps);
            simd.vectorize(ApplyEach {
                shared: self.shared.as_ref(),
                affine: &self.affine,
                first: run,
                d,
                x,
                y: T::target(to, results, past),
                scales: [&scales.heads, &scales.tails, &scales.rstds],
                next,
                stored_as: PhantomData::<T>,
            });
            T::finish(to, results, past);
            if let Some(found) = self.moments.get_mut(run) {
                *found = moments.get(0);
            }
        }
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
