//! Gradients column by column where nothing but weight and bias follows the normalization and rows have the same
//! parameters: what a group needs is what its parameters need, times the weight, and rows are taken four at a time.

use super::element::Element;
use super::gradient::{BLOCK_ROWS, Found, Job};
use super::gradient_kernels::{Workspace, add_inflow};
use super::gradient_parameters::Pair;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Rows that are read side by side.
const ROWS: usize = 4;

/// Rows in f32.
#[derive(Debug)]
pub(super) struct Wide([Vec<f32>; 2 * ROWS]);

impl Wide {
    pub(super) fn new(len: usize) -> Self {
        Self(std::array::from_fn(|_| vec![0.0; len]))
    }
}

impl<T: Element> Job<'_, T> {
    /// Whether all rows of a step of `a` have the same parameters, and these alone.
    pub(super) fn by_plain_columns(&self) -> bool {
        self.is_plain() && self.parameters.map.b_scale == 0
    }

    /// Adds rows of a tile up.
    pub(super) fn sum_plain_columns(
        &self,
        a: usize,
        rows: &Range<usize>,
        tile: &Range<usize>,
        w: &mut Workspace,
        found: &mut Found,
    ) {
        self.set_scales(a, tile, w);
        self.set_parameters(a, rows.start, tile, w);
        for first in rows.clone().step_by(BLOCK_ROWS) {
            let count = BLOCK_ROWS.min(rows.end - first);
            self.simd.dispatch(AddRows { rows: self.rows_of(a * self.view.b + first, count, tile), w });
            if self.through {
                self.weigh_first(a, first..first + count, tile, w);
                self.flush_groups(a, tile, w, found);
            }
            self.flush_columns(self.base(a, first), tile, w, found);
        }
    }

    /// Sums that leave the range of f32 may come back into it times a small weight: where there are any, every gradient
    /// meets its weight before the groups' sums.
    fn weigh_first(&self, a: usize, rows: Range<usize>, tile: &Range<usize>, w: &mut Workspace) {
        let len = tile.len();
        if w.products[..len].iter().chain(&w.gradients[..len]).all(|sum| sum.is_finite()) {
            return;
        }
        for sums in [&mut w.products, &mut w.gradients, &mut w.of_weight, &mut w.of_bias] {
            sums[..len].fill(0.0);
        }
        rows.for_each(|b| self.add(a, b, tile, w));
    }

    /// Writes the gradients of a tile of neighbouring rows, the first of which is row `first` of all.
    pub(super) fn write_plain_columns(
        &self,
        first: usize,
        tile: &Range<usize>,
        output: &mut [T],
        groups: &impl Fn(usize) -> Pair,
        w: &mut Workspace,
    ) {
        let b = self.view.b;
        let mut row = first;
        let mut rest = output;
        while !rest.is_empty() {
            let rows = (b - row % b).min(rest.len() / self.row());
            let (of_step, later) = rest.split_at_mut(rows * self.row());
            self.set_scales(row / b, tile, w);
            self.set_parameters(row / b, row % b, tile, w);
            self.set_through(row / b, tile, groups, w);
            self.simd.dispatch(WriteRows {
                rows: self.rows_of(row, rows, tile),
                inflow: self.inflow.map(|inflow| &inflow[row * self.row() + tile.start..]),
                output: &mut of_step[tile.start..],
                w,
            });
            (row, rest) = (row + rows, later);
        }
    }

    /// A tile of so many rows, the first of which is row `first` of all.
    fn rows_of(&self, first: usize, count: usize, tile: &Range<usize>) -> Rows<'_, T> {
        let at = first * self.row() + tile.start;
        Rows { x: &self.x[at..], upstream: &self.upstream[at..], count, stride: self.row(), columns: tile.len() }
    }
}

/// Some columns of rows that are `stride` elements apart.
#[derive(Debug, Clone, Copy)]
struct Rows<'a, T> {
    x: &'a [T],
    upstream: &'a [T],
    count: usize,
    stride: usize,
    columns: usize,
}

impl<T: Element> Rows<'_, T> {
    /// Where row `r` lies.
    #[inline(always)]
    fn range(&self, r: usize) -> Range<usize> {
        r * self.stride..r * self.stride + self.columns
    }

    /// What was normalized and the gradient of row `r`, in f32.
    #[inline(always)]
    fn read<'b>(&'b self, r: usize, x: &'b mut [f32], upstream: &'b mut [f32]) -> (&'b [f32], &'b [f32]) {
        (T::read(&self.x[self.range(r)], x), T::read(&self.upstream[self.range(r)], upstream))
    }
}

/// Adds rows to the sums of columns.
struct AddRows<'a, T> {
    rows: Rows<'a, T>,
    w: &'a mut Workspace,
}

impl<T: Element> WithSimd for AddRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { rows, w } = self;
        let len = rows.columns;
        let Workspace { head, tail, rstd, weight, of_weight, of_bias, products, gradients, wide_rows, .. } = w;
        let (head, tail, rstd) = (&head[..len], &tail[..len], &rstd[..len]);
        let (of_weight, of_bias) = (&mut of_weight[..len], &mut of_bias[..len]);
        let [x0, x1, x2, x3, g0, g1, g2, g3] = &mut wide_rows.0;
        let mut r = 0;
        while r + ROWS <= rows.count {
            let ((x0, g0), (x1, g1)) = (rows.read(r, x0, g0), rows.read(r + 1, x1, g1));
            let ((x2, g2), (x3, g3)) = (rows.read(r + 2, x2, g2), rows.read(r + 3, x3, g3));
            for j in 0..len {
                let product = |x: &[f32], g: &[f32]| g[j] * ((x[j] - head[j] - tail[j]) * rstd[j]);
                of_weight[j] += (product(x0, g0) + product(x1, g1)) + (product(x2, g2) + product(x3, g3));
                of_bias[j] += (g0[j] + g1[j]) + (g2[j] + g3[j]);
            }
            r += ROWS;
        }
        for r in r..rows.count {
            let (x, g) = rows.read(r, x0, g0);
            for j in 0..len {
                of_weight[j] += g[j] * ((x[j] - head[j] - tail[j]) * rstd[j]);
                of_bias[j] += g[j];
            }
        }
        let (weight, products, gradients) = (&weight[..len], &mut products[..len], &mut gradients[..len]);
        for j in 0..len {
            products[j] = of_weight[j] * weight[j];
            gradients[j] = of_bias[j] * weight[j];
        }
    }
}

/// Writes the gradients of rows.
struct WriteRows<'a, T> {
    rows: Rows<'a, T>,
    inflow: Option<&'a [T]>,
    output: &'a mut [T],
    w: &'a mut Workspace,
}

impl<T: Element> WithSimd for WriteRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { rows, inflow, output, w } = self;
        let len = rows.columns;
        let Workspace { head, tail, rstd, weight, through_mean, through_variance, wide_rows, .. } = w;
        let (head, tail, rstd) = (&head[..len], &tail[..len], &rstd[..len]);
        let (weight, mean, variance) = (&weight[..len], &through_mean[..len], &through_variance[..len]);
        let [wide_x, wide_g, results, ..] = &mut wide_rows.0;
        for r in 0..rows.count {
            let (x, g) = rows.read(r, wide_x, wide_g);
            let to = &mut output[rows.range(r)];
            let y = T::target(to, results);
            for j in 0..len {
                let normalized = (x[j] - head[j] - tail[j]) * rstd[j];
                y[j] = (g[j] * weight[j] - mean[j] - normalized * variance[j]) * rstd[j];
            }
            add_inflow(inflow.map(|inflow| &inflow[rows.range(r)]), y, wide_x);
            T::finish(to, results);
        }
    }
}
