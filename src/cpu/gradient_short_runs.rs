//! Gradients of groups of one short run each, whose columns have parameters of their own that all runs share: some runs at a
//! time, stage by stage, so that no run waits for the one before it.

use super::element::Element;
use super::gradient::{Found, Job, Through};
use super::gradient_element::fold;
use super::gradient_kernels::add_inflow;
use super::gradient_parameters::Pair;
use super::gradient_places::{Places, Row};
use super::gradient_runs::{Weight, sums_of_weighted, write_folded, write_stepwise};
use super::gradient_side_by_side::MOST_SIDE_BY_SIDE;
use super::lanes::SIDE_BY_SIDE;
use super::moments::Scale;
use super::past_caches::PastCaches;
use super::row_kernels::{FEW, LANES, MOST_OF_FEW};
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Runs of a batch.
const BATCH: usize = 8;

/// Elements of a run at most: with its gradients a batch stays in a processor's first cache.
const LONGEST: usize = 256;

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
        let mut places = Places::default();
        let d = self.view.d;
        let past = self.past_caches();
        let len = (BATCH * d).max(SIDE_BY_SIDE * MOST_SIDE_BY_SIDE);
        let room = |is_needed: bool| if is_needed { vec![0.0; len] } else { Vec::new() };
        let wide = [room(!T::IS_F32), room(!T::IS_F32)];
        let mut buffers = Buffers { wide, results: room(!T::IS_F32 || past.is_some()), past };
        let mut run = self.write_side_by_side(runs.clone(), output, &mut buffers, found);
        let mut rest = &mut output[(run - runs.start) * d..];
        while run < runs.end {
            let is_batch = run + BATCH <= runs.end;
            let (to, later) = rest.split_at_mut(if is_batch { BATCH * d } else { d });
            if is_batch {
                self.write_batch::<BATCH>(run, to, &mut places, &mut buffers, found);
            } else {
                self.write_batch::<1>(run, to, &mut places, &mut buffers, found);
            }
            (rest, run) = (later, run + to.len() / d);
        }
        places.flush(found);
    }

    fn write_batch<const N: usize>(
        &self,
        first: usize,
        output: &mut [T],
        places: &mut Places,
        buffers: &mut Buffers,
        found: &mut Found,
    ) {
        let d = self.view.d;
        let at = first * d..(first + N) * d;
        let base = self.base(0, 0);
        let batch = Batch {
            x: &self.x[at.clone()],
            upstream: &self.upstream[at.clone()],
            scales: std::array::from_fn(|k| self.scale(first + k)),
            weight: &self.parameters.weight[base..][..d],
        };
        let pairs = self.simd.dispatch(SumBatch { batch, buffers });
        if self.wants_parameters {
            places.add(base, std::array::from_fn::<_, N, _>(|k| batch.row(k)), self.simd, found);
        }
        let mut through = [[0.0; 2]; N];
        for (k, (through, pair)) in through.iter_mut().zip(pairs).enumerate() {
            *through = self.through_of(first + k, pair);
        }
        let inflow = self.inflow.map(|inflow| &inflow[at]);
        self.simd.dispatch(WriteBatch { batch, inflow, output, through, buffers });
    }
}

/// `N` runs that follow each other.
#[derive(Debug, Clone, Copy)]
struct Batch<'a, T, const N: usize> {
    x: &'a [T],
    upstream: &'a [T],
    scales: [Scale; N],
    /// Those of a run, whose length they give.
    weight: &'a [f32],
}

impl<'a, T: Element, const N: usize> Batch<'a, T, N> {
    fn row(&self, k: usize) -> Row<'a, T> {
        let d = self.weight.len();
        let at = k * d..(k + 1) * d;
        Row { x: &self.x[at.clone()], upstream: &self.upstream[at], scale: self.scales[k] }
    }
}

/// What runs' gradients through their statistics need.
struct SumBatch<'a, 'b, T, const N: usize> {
    batch: Batch<'a, T, N>,
    buffers: &'b mut Buffers,
}

impl<T: Element, const N: usize> WithSimd for SumBatch<'_, '_, T, N> {
    type Output = [Pair; N];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [Pair; N] {
        let Batch { x, upstream, scales, weight } = self.batch;
        let [wide_x, wide_g] = &mut self.buffers.wide;
        let (x, g) = (T::read(x, wide_x), T::read(upstream, wide_g));
        // The compiler does without remainders where it knows how long runs are.
        match weight.len() {
            32 => sums_of_runs::<FEW, N>([x, g], weight, scales, 32),
            d if d <= MOST_OF_FEW => sums_of_runs::<FEW, N>([x, g], weight, scales, d),
            d => sums_of_runs::<LANES, N>([x, g], weight, scales, d),
        }
    }
}

#[inline(always)]
fn sums_of_runs<const L: usize, const N: usize>(
    [x, g]: [&[f32]; 2],
    weight: &[f32],
    scales: [Scale; N],
    d: usize,
) -> [Pair; N] {
    let mut pairs = [[0.0; 2]; N];
    let runs = x.chunks_exact(d).zip(g.chunks_exact(d)).zip(scales);
    for (pair, ((x, g), scale)) in pairs.iter_mut().zip(runs) {
        *pair = sums_of_weighted::<L>([x, g, &weight[..d]], scale, None);
    }
    pairs
}

/// Writes runs' gradients.
struct WriteBatch<'a, 'b, T, const N: usize> {
    batch: Batch<'a, T, N>,
    inflow: Option<&'a [T]>,
    output: &'b mut [T],
    through: [Through; N],
    buffers: &'b mut Buffers,
}

impl<T: Element, const N: usize> WithSimd for WriteBatch<'_, '_, T, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Batch { x, upstream, scales, weight } = self.batch;
        let Buffers { wide: [wide_x, wide_g], results, past } = self.buffers;
        let past = past.as_ref();
        let (x, g) = (T::read(x, wide_x), T::read(upstream, wide_g));
        let y = T::target(self.output, results, past);
        let d = weight.len();
        let runs = y.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(g.chunks_exact(d));
        for (((y, x), g), (scale, through)) in runs.zip(scales.into_iter().zip(self.through)) {
            let (coefficients, keeps_digits) = fold(scale, 1.0, through);
            if keeps_digits {
                write_folded([x, g], Weight::Own(weight), scale.head, coefficients, y);
            } else {
                write_stepwise([x, g], Weight::Own(weight), scale, through, y);
            }
        }
        add_inflow(self.inflow, y, wide_x);
        T::finish(self.output, results, past);
    }
}
