//! Gradients of groups of one short run each, whose columns have parameters of their own that all runs share: some runs at a
//! time, so that no run waits for the one before it. Lanes are columns, and runs lie side by side only while each adds its
//! lanes up.

use super::element::Element;
use super::gradient::{BLOCK_ROWS, Found, Job};
use super::gradient_batch::{fold_each, mend};
use super::gradient_groups::Groups;
use super::gradient_kernels::add_inflow;
use super::gradient_runs::{add_weighted, rest_of, write_own};
use super::gradient_side_by_side::{LaneSums, MOST_SIDE_BY_SIDE};
use super::lanes::{HALF, SIDE_BY_SIDE, added_up, half_of};
use super::moments::Scale;
use super::past_caches::PastCaches;
use super::row_kernels::FEW;
use super::short_runs::AT_ONCE;
use pulp::{Simd, WithSimd};
use std::hint::black_box;
use std::ops::Range;

/// Elements of a run at most: with its gradients a batch stays in a processor's own caches.
const LONGEST: usize = 256;

/// Chunks of a run at most, with that of the elements which fill none.
const CHUNKS: usize = LONGEST / FEW + 1;

type Chunk = [f32; FEW];

/// Runs that follow each other, in f32: what is done to them is compiled once for all that tensors are stored as.
pub(super) struct Runs<'a> {
    pub(super) groups: &'a Groups<'a>,
    /// The first run.
    pub(super) first: usize,
    /// Elements and their gradients, and the weights of a run's columns.
    pub(super) given: [&'a [f32]; 3],
    pub(super) output: &'a mut [f32],
}

/// What columns' own parameters need, which is added up in f32 while gradients are written.
pub(super) trait ColumnSums {
    /// Runs at most before f64 takes over.
    const MOST_RUNS: usize;

    /// Writes the gradients of runs, and adds up what their parameters need.
    fn write_gradients(&mut self, simd: impl Simd, runs: Runs<'_>);

    /// Hands the sums of the `d` parameters from `base` on to f64.
    fn flush(&mut self, base: usize, d: usize, found: &mut Found);
}

impl<T: Element> Job<'_, T> {
    /// Whether groups are short runs with the same parameters.
    pub(super) fn by_short_runs(&self) -> bool {
        let map = self.parameters.map;
        // Not where a row of parameters a sample is one row: such a sample has the same bits among others.
        let rows_share = self.view.b == 1 && map.a_scale == 0;
        let are_short = self.view.d <= LONGEST;
        self.is_plain() && self.has_one_each() && self.groups.through && !self.learns_eps && rows_share && are_short
    }

    /// Writes the gradients of these runs, and adds up what their parameters need.
    pub(super) fn write_short_runs(&self, runs: Range<usize>, output: &mut [T], found: &mut Found) {
        let d = self.view.d;
        let side_by_side = if d <= MOST_SIDE_BY_SIDE { runs.len() / SIDE_BY_SIDE * SIDE_BY_SIDE } else { 0 };
        let (of_these, of_others) = output.split_at_mut(side_by_side * d);
        self.write_with(LaneSums::NONE, runs.start, of_these, found);
        self.write_with(Sums::NONE, runs.start + side_by_side, of_others, found);
    }

    /// Writes the gradients of runs from run `first` on.
    fn write_with<C: ColumnSums>(&self, mut sums: C, mut first: usize, output: &mut [T], found: &mut Found) {
        let (d, base) = (self.view.d, self.base(0, 0));
        if output.is_empty() {
            return;
        }
        let at_once = (AT_ONCE / d / SIDE_BY_SIDE).max(1) * SIDE_BY_SIDE;
        let mut buffers = Buffers::new(self, (at_once * d).min(output.len()));
        for output in output.chunks_mut(C::MOST_RUNS * d) {
            let count = output.len() / d;
            let (sums_of_block, buffers) = (&mut sums, &mut buffers);
            self.simd.dispatch(WriteBlock { job: self, first, at_once, output, sums: sums_of_block, buffers });
            if self.wants_parameters {
                sums.flush(base, d, found);
            }
            first += count;
        }
    }
}

/// Room for elements, their gradients and results, as far as they are not in f32 or go past the caches.
struct Buffers {
    wide: [Vec<f32>; 2],
    results: Vec<f32>,
    past: Option<PastCaches>,
}

impl Buffers {
    fn new<T: Element>(job: &Job<'_, T>, len: usize) -> Self {
        let room = |is_needed: bool| if is_needed { vec![0.0; len] } else { Vec::new() };
        let past = job.past_caches();
        Self { wide: [room(!T::IS_F32), room(!T::IS_F32)], results: room(!T::IS_F32 || past.is_some()), past }
    }
}

/// Writes the gradients of a block of runs, few enough for f32 to add them up.
struct WriteBlock<'a, 'j, T, C> {
    job: &'a Job<'j, T>,
    /// The first run.
    first: usize,
    /// Runs for which the kernel is called once.
    at_once: usize,
    output: &'a mut [T],
    sums: &'a mut C,
    buffers: &'a mut Buffers,
}

impl<T: Element, C: ColumnSums> WithSimd for WriteBlock<'_, '_, T, C> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { job, first, at_once, output, sums, buffers } = self;
        let Buffers { wide: [wide_x, wide_g], results, past } = buffers;
        let (d, past) = (job.view.d, past.as_ref());
        let weight = &job.parameters.weight[job.base(0, 0)..][..d];
        for (i, output) in output.chunks_mut(at_once * d).enumerate() {
            let first = first + i * at_once;
            let at = first * d..first * d + output.len();
            let (x, g) = (T::read(&job.x[at.clone()], wide_x), T::read(&job.upstream[at.clone()], wide_g));
            let y = T::target(output, results, past);
            sums.write_gradients(simd, Runs { groups: &job.groups, first, given: [x, g, weight], output: y });
            add_inflow(job.inflow.map(|inflow| &inflow[at]), y, wide_x);
            T::finish(output, results, past);
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
}

impl ColumnSums for Sums {
    const MOST_RUNS: usize = BLOCK_ROWS;

    #[inline(always)]
    fn write_gradients(&mut self, simd: impl Simd, runs: Runs<'_>) {
        simd.vectorize(WriteRuns { runs, sums: self });
    }

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

struct WriteRuns<'a> {
    runs: Runs<'a>,
    sums: &'a mut Sums,
}

impl WithSimd for WriteRuns<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) {
        let d = self.runs.given[2].len();
        let count = self.runs.output.len() / d;
        let in_batches = count / SIDE_BY_SIDE * SIDE_BY_SIDE;
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
        self.write::<1>(d, d / FEW, in_batches..count);
    }
}

impl WriteRuns<'_> {
    /// Of these runs, `N` at a time, whose `d` elements fill so many `chunks`. `N` changes no bit of the input's gradient.
    #[inline(always)]
    fn write<const N: usize>(&mut self, d: usize, chunks: usize, runs: Range<usize>) {
        let Runs { groups, first, given: [x, g, weight], output } = &mut self.runs;
        let (first, weight) = (*first + runs.start, &weight[..d]);
        let elements = runs.start * d..runs.end * d;
        let given = x[elements.clone()].chunks_exact(N * d).zip(g[elements.clone()].chunks_exact(N * d));
        for (i, (y, (x, g))) in output[elements].chunks_exact_mut(N * d).zip(given).enumerate() {
            write_batch::<N>(groups, first + i * N, chunks, [x, g, weight], y, self.sums);
        }
    }
}

/// Writes the gradients of a batch of runs, the first of which is run `first`, and adds up what their parameters need.
#[inline(always)]
fn write_batch<const N: usize>(
    groups: &Groups<'_>,
    first: usize,
    chunks: usize,
    [x, g, weight]: [&[f32]; 3],
    y: &mut [f32],
    sums: &mut Sums,
) {
    let d = weight.len();
    let scales = groups.scales(first);
    let (mut products, mut gradients) = ([[0.0; HALF]; N], [[0.0; HALF]; N]);
    for (k, (x, g)) in x.chunks_exact(d).zip(g.chunks_exact(d)).enumerate() {
        [products[k], gradients[k]] = add_run([x, g, weight], chunks, scales.get(k), sums);
    }
    let totals_of_runs = [added_up(&products), added_up(&gradients)];
    let through = groups.through_each(first, totals_of_runs, &scales);
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
