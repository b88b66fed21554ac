//! Gradients of groups of one short run each, whose columns have parameters of their own that all runs share: some runs at a
//! time, so that no run waits for the one before it. Lanes are columns, and runs lie side by side only while each adds its
//! lanes up.

use super::element::Element;
use super::gradient::{BLOCK_ROWS, Found, Job};
use super::gradient_batch::{fold_each, mend, scales_of, through_statistics};
use super::gradient_kernels::add_inflow;
use super::gradient_runs::{add_weighted, rest_of, write_own};
use super::gradient_side_by_side::MOST_SIDE_BY_SIDE;
use super::lanes::{HALF, SIDE_BY_SIDE, added_up, half_of};
use super::moments::Scale;
use super::past_caches::PastCaches;
use super::row_kernels::FEW;
use pulp::{Simd, WithSimd};
use std::hint::black_box;
use std::ops::Range;

/// Elements of a run at most: with its gradients a batch stays in a processor's own caches.
const LONGEST: usize = 256;

/// Chunks of a run at most, with that of the elements which fill none.
const CHUNKS: usize = LONGEST / FEW + 1;

type Chunk = [f32; FEW];

/// What a task needs for batches.
pub(super) struct Buffers {
    /// Room for elements, their gradients and results, as far as they are not in f32 or go past the caches.
    pub(super) wide: [Vec<f32>; 2],
    pub(super) results: Vec<f32>,
    pub(super) past: Option<PastCaches>,
}

impl<T: Element> Job<'_, T> {
    /// Whether groups are short runs with the same parameters.
    pub(super) fn by_short_runs(&self) -> bool {
        let map = self.parameters.map;
        let rows_share = self.view.b == 1 && (map.a_scale == 0 || map.a_modulus == 1);
        let are_short = self.view.d <= LONGEST;
        self.is_plain() && self.has_one_each() && self.through && !self.learns_eps && rows_share && are_short
    }

    /// Writes the gradients of these runs, and adds up what their parameters need.
    pub(super) fn write_short_runs(&self, runs: Range<usize>, output: &mut [T], found: &mut Found) {
        let (d, base) = (self.view.d, self.base(0, 0));
        let past = self.past_caches();
        let room = |is_needed: bool| if is_needed { vec![0.0; SIDE_BY_SIDE * d] } else { Vec::new() };
        let wide = [room(!T::IS_F32), room(!T::IS_F32)];
        let mut buffers = Buffers { wide, results: room(!T::IS_F32 || past.is_some()), past };
        let mut first = runs.start;
        if d <= MOST_SIDE_BY_SIDE {
            first = self.write_side_by_side(runs.clone(), output, &mut buffers, found);
        }
        let mut sums = Sums::NONE;
        for output in output[(first - runs.start) * d..].chunks_mut(BLOCK_ROWS * d) {
            let count = output.len() / d;
            self.simd.dispatch(WriteBlock { job: self, base, first, output, sums: &mut sums, buffers: &mut buffers });
            if self.wants_parameters {
                sums.flush(base, d, found);
            }
            first += count;
        }
    }
}

/// What columns' own parameters need, chunk by chunk of a run.
struct Sums {
    of_weight: [Chunk; CHUNKS],
    of_bias: [Chunk; CHUNKS],
}

impl Sums {
    const NONE: Self = Self { of_weight: [[0.0; FEW]; CHUNKS], of_bias: [[0.0; FEW]; CHUNKS] };

    /// Adds a chunk of a run.
    #[inline(always)]
    fn add(&mut self, chunk: usize, [x, g]: [&Chunk; 2], Scale { head, tail, rstd }: Scale) {
        // Nobody else's memory, so the compiler need not ask whether they are.
        let (mut of_weight, mut of_bias) = (self.of_weight[chunk], self.of_bias[chunk]);
        for i in 0..FEW {
            of_weight[i] += g[i] * ((x[i] - head - tail) * rstd);
            of_bias[i] += g[i];
        }
        (self.of_weight[chunk], self.of_bias[chunk]) = (of_weight, of_bias);
    }

    /// Hands the sums of the `d` parameters from `base` on to f64.
    fn flush(&mut self, base: usize, d: usize, found: &mut Found) {
        let len = FEW.min(d);
        for (i, (of_weight, of_bias)) in
            self.of_weight.iter_mut().zip(&mut self.of_bias).take(d.div_ceil(FEW)).enumerate()
        {
            let first = (i * FEW).min(d - len);
            found.parameters.add_run(base + first, &of_weight[..len], &of_bias[..len]);
            (*of_weight, *of_bias) = ([0.0; FEW], [0.0; FEW]);
        }
    }
}

/// Writes the gradients of a block of runs, few enough for f32 to add them up.
struct WriteBlock<'a, 'j, T> {
    job: &'a Job<'j, T>,
    /// The parameter of a run's first column, and the first run.
    base: usize,
    first: usize,
    output: &'a mut [T],
    sums: &'a mut Sums,
    buffers: &'a mut Buffers,
}

impl<T: Element> WithSimd for WriteBlock<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) {
        let d = self.job.view.d;
        let in_batches = self.output.len() / d / SIDE_BY_SIDE * SIDE_BY_SIDE;
        // The compiler does without loops over chunks where it knows how many there are, and without what fills none.
        match d {
            8 => self.write::<SIDE_BY_SIDE>(8, 1, 0..in_batches),
            16 => self.write::<SIDE_BY_SIDE>(16, 2, 0..in_batches),
            24 => self.write::<SIDE_BY_SIDE>(24, 3, 0..in_batches),
            32 => self.write::<SIDE_BY_SIDE>(32, 4, 0..in_batches),
            64 => self.write::<SIDE_BY_SIDE>(64, 8, 0..in_batches),
            9..16 => self.write::<SIDE_BY_SIDE>(d, 1, 0..in_batches),
            17..24 => self.write::<SIDE_BY_SIDE>(d, 2, 0..in_batches),
            25..32 => self.write::<SIDE_BY_SIDE>(d, 3, 0..in_batches),
            _ => self.write::<SIDE_BY_SIDE>(d, d / FEW, 0..in_batches),
        }
        self.write::<1>(d, d / FEW, in_batches..self.output.len() / d);
    }
}

impl<T: Element> WriteBlock<'_, '_, T> {
    /// Of these runs of the block, `N` at a time, whose `d` elements fill so many `chunks`. `N` changes no bit of the
    /// input's gradient.
    #[inline(always)]
    fn write<const N: usize>(&mut self, d: usize, chunks: usize, runs: Range<usize>) {
        let Self { job, base, first, output, sums, buffers } = self;
        let Buffers { wide: [wide_x, wide_g], results, past } = buffers;
        let past = past.as_ref();
        let weight = &job.parameters.weight[*base..][..d];
        for (i, output) in output[runs.start * d..runs.end * d].chunks_exact_mut(N * d).enumerate() {
            let first = *first + runs.start + i * N;
            let at = first * d..(first + N) * d;
            let (x, g) = (T::read(&job.x[at.clone()], wide_x), T::read(&job.upstream[at.clone()], wide_g));
            let y = T::target(output, results, past);
            write_batch::<T, N>(job, first, chunks, [x, g, weight], y, sums);
            add_inflow(job.inflow.map(|inflow| &inflow[at]), y, wide_x);
            T::finish(output, results, past);
        }
    }
}

/// Writes the gradients of a batch of runs, the first of which is run `first`, and adds up what their parameters need.
#[inline(always)]
fn write_batch<T: Element, const N: usize>(
    job: &Job<'_, T>,
    first: usize,
    chunks: usize,
    [x, g, weight]: [&[f32]; 3],
    y: &mut [f32],
    sums: &mut Sums,
) {
    let d = weight.len();
    let scales = scales_of(job, first);
    let (mut products, mut gradients) = ([[0.0; HALF]; N], [[0.0; HALF]; N]);
    for (k, (x, g)) in x.chunks_exact(d).zip(g.chunks_exact(d)).enumerate() {
        [products[k], gradients[k]] = add_run([x, g, weight], chunks, scales.get(k), sums);
    }
    let totals_of_runs = [added_up(&products), added_up(&gradients)];
    let through = through_statistics(job, first, totals_of_runs, &scales);
    let ([of_gradient, of_distance, offset], all_keep_digits) = fold_each::<N>(&scales, &through);
    for (k, ((x, g), y)) in x.chunks_exact(d).zip(g.chunks_exact(d)).zip(y.chunks_exact_mut(d)).enumerate() {
        // Hidden from the compiler, which would take elements of several runs together, each from its place.
        let k = black_box(k);
        write_own([x, g, weight], scales.heads[k], [of_gradient[k], of_distance[k], offset[k]], y);
    }
    if !all_keep_digits {
        mend([x, g, weight], &scales, &through, y);
    }
}

/// Adds a run up for its columns' parameters, and for itself: weighted gradients times what was taken about the head, and
/// weighted gradients.
#[inline(always)]
fn add_run([x, g, weight]: [&[f32]; 3], chunks: usize, scale: Scale, sums: &mut Sums) -> [[f32; HALF]; 2] {
    let (mut products, mut gradients) = ([0.0; FEW], [0.0; FEW]);
    let (xs, gs, weights) = (&x.as_chunks().0[..chunks], &g.as_chunks().0[..chunks], &weight.as_chunks().0[..chunks]);
    for i in 0..chunks {
        sums.add(i, [&xs[i], &gs[i]], scale);
        add_weighted([&mut products, &mut gradients], [&xs[i], &gs[i], &weights[i]], scale.head, scale.rstd);
    }
    let rest = x.len() - chunks * FEW;
    if rest > 0 {
        let [x, g, weight] = rest_of([x, g, weight], rest, scale.head);
        sums.add(chunks, [&x, &g], scale);
        add_weighted([&mut products, &mut gradients], [&x, &g, &weight], scale.head, scale.rstd);
    }
    [half_of(products), half_of(gradients)]
}
