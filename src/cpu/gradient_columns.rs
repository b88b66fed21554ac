//! Gradients column by column where nothing but weight and bias follows the normalization and rows have the same
//! parameters: what a group needs is what its parameters need, times the weight, and rows are taken four at a time. Rows that
//! have one parameter each are written here too.

use super::element::Element;
use super::gradient::{BLOCK_ROWS, Found, Job};
use super::gradient_element::{fold, of_folded, stepwise};
use super::gradient_groups::Through;
use super::gradient_kernels::{Workspace, add_inflow, write_scaled};
use super::moments::Scale;
use super::results::Results;
use super::vectors::vectors_and_rest;
use pulp::{Scalar, Simd, WithSimd};
use std::ops::Range;

/// Rows that are read side by side.
const ROWS: usize = 4;

/// Rows in f32.
#[derive(Debug)]
pub(super) struct Wide(pub(super) [Vec<f32>; 2 * ROWS]);

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

    /// Whether what columns of neighbouring rows share is set up once for all of these.
    pub(super) fn folds_columns(&self) -> bool {
        self.by_plain_columns() || self.by_uniform_rows()
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
            self.weigh_first(a, first..first + count, tile, w);
            if self.groups.through {
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
        through: &impl Fn(usize) -> Through,
        w: &mut Workspace,
    ) {
        let b = self.view.b;
        let mut row = first;
        let mut rest = output;
        while !rest.is_empty() {
            let rows = (b - row % b).min(rest.len() / self.row());
            let (of_step, later) = rest.split_at_mut(rows * self.row());
            self.write_plain_rows((row, rows), tile, &mut of_step[tile.start..], through, w);
            (row, rest) = (row + rows, later);
        }
    }

    /// Writes the gradients of a tile of rows of one step of `a`: so many, from row `row` of all on. `output` begins with
    /// the tile's first column.
    pub(super) fn write_plain_rows(
        &self,
        (row, count): (usize, usize),
        tile: &Range<usize>,
        output: &mut [T],
        through: &impl Fn(usize) -> Through,
        w: &mut Workspace,
    ) {
        let (a, b) = (row / self.view.b, row % self.view.b);
        let share_parameters = self.by_plain_columns();
        self.set_scales(a, tile, w);
        if share_parameters {
            self.set_parameters(a, b, tile, w);
        } else {
            w.weight[..tile.len()].fill(1.0);
        }
        self.set_through(a, tile, through, w);
        self.simd.dispatch(WriteRows {
            rows: self.rows_of(row, count, tile),
            weight: |r| if share_parameters { 1.0 } else { self.parameters.weight[self.base(a, b + r)] },
            inflow: self.inflow.map(|inflow| &inflow[row * self.row() + tile.start..]),
            output,
            through: self.groups.through,
            w,
        });
    }

    /// A tile of so many rows, the first of which is row `first` of all.
    pub(super) fn rows_of(&self, first: usize, count: usize, tile: &Range<usize>) -> Rows<'_, T> {
        let at = first * self.row() + tile.start;
        Rows { x: &self.x[at..], upstream: &self.upstream[at..], count, stride: self.row(), columns: tile.len() }
    }
}

/// Some columns of rows that are `stride` elements apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a, T> {
    pub(super) x: &'a [T],
    pub(super) upstream: &'a [T],
    pub(super) count: usize,
    stride: usize,
    pub(super) columns: usize,
}

impl<T: Element> Rows<'_, T> {
    /// Where row `r` lies.
    #[inline(always)]
    pub(super) fn range(&self, r: usize) -> Range<usize> {
        r * self.stride..r * self.stride + self.columns
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
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { rows, w } = self;
        let len = rows.columns;
        let mut r = 0;
        while r + ROWS <= rows.count {
            add_rows::<S, T, ROWS>(simd, &rows, r, w);
            r += ROWS;
        }
        for r in r..rows.count {
            add_rows::<S, T, 1>(simd, &rows, r, w);
        }
        let Workspace { tail, rstd, weight, of_weight, of_bias, products, gradients, .. } = w;
        let (tail, rstd, weight) = (&tail[..len], &rstd[..len], &weight[..len]);
        let (of_weight, of_bias) = (&mut of_weight[..len], &of_bias[..len]);
        let (products, gradients) = (&mut products[..len], &mut gradients[..len]);
        for j in 0..len {
            // Rows have been taken about the head alone.
            of_weight[j] -= tail[j] * rstd[j] * of_bias[j];
            products[j] = of_weight[j] * weight[j];
            gradients[j] = of_bias[j] * weight[j];
        }
    }
}

/// Adds `N` rows, the first of which is row `first`.
#[inline(always)]
fn add_rows<S: Simd, T: Element, const N: usize>(simd: S, rows: &Rows<'_, T>, first: usize, w: &mut Workspace) {
    let len = rows.columns;
    let Workspace { head, rstd, of_weight, of_bias, wide_rows, .. } = w;
    let (mut vectors, mut rest) = ([[&[][..]; 2]; N], [[&[][..]; 2]; N]);
    for (k, wide) in wide_rows.0.chunks_exact_mut(2).take(N).enumerate() {
        let [wide_x, wide_g] = wide else { continue };
        let at = rows.range(first + k);
        let row = [T::read(&rows.x[at.clone()], wide_x), T::read(&rows.upstream[at], wide_g)];
        (vectors[k], rest[k]) = vectors_and_rest::<S, 2>(row, len);
    }
    let (scales, scales_rest) = vectors_and_rest::<S, 2>([head, rstd], len);
    let (of_weight, of_weight_rest) = S::as_mut_simd_f32s(&mut of_weight[..len]);
    let (of_bias, of_bias_rest) = S::as_mut_simd_f32s(&mut of_bias[..len]);
    add_vectors(simd, vectors, scales, [of_weight, of_bias]);
    add_vectors(Scalar, rest, scales_rest, [of_weight_rest, of_bias_rest]);
}

#[inline(always)]
fn add_vectors<S: Simd, const N: usize>(
    simd: S,
    rows: [[&[S::f32s]; 2]; N],
    scales: [&[S::f32s]; 2],
    [of_weight, of_bias]: [&mut [S::f32s]; 2],
) {
    let len = of_weight.len();
    let [head, rstd] = [&scales[0][..len], &scales[1][..len]];
    for (j, (of_weight, of_bias)) in of_weight.iter_mut().zip(of_bias).enumerate() {
        let (mut products, mut gradients) = (*of_weight, *of_bias);
        for [x, g] in rows {
            let normalized = simd.mul_f32s(simd.sub_f32s(x[j], head[j]), rstd[j]);
            products = simd.add_f32s(products, simd.mul_f32s(g[j], normalized));
            gradients = simd.add_f32s(gradients, g[j]);
        }
        (*of_weight, *of_bias) = (products, gradients);
    }
}

/// Writes the gradients of rows.
struct WriteRows<'a, T, F> {
    rows: Rows<'a, T>,
    /// What all gradients of a row meet before what their columns have.
    weight: F,
    inflow: Option<&'a [T]>,
    output: &'a mut [T],
    /// Whether anything goes through the statistics: else the input is not read.
    through: bool,
    w: &'a mut Workspace,
}

impl<T: Element, F: Fn(usize) -> f32> WithSimd for WriteRows<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { rows, weight: weight_of_row, inflow, output, through, w } = self;
        if through {
            fold_tile(w, rows.columns);
        }
        let Workspace {
            head,
            tail,
            rstd,
            weight,
            through_mean,
            through_variance,
            folded,
            unfolded,
            wide_rows,
            past,
            ..
        } = w;
        let past = past.as_ref();
        let [wide_x, wide_g, results, ..] = &mut wide_rows.0;
        let tables = [head, &folded[0], &folded[1], &folded[2]].map(|table| &table[..rows.columns]);
        let are_folded_alone = through && unfolded.is_empty() && inflow.is_none();
        for r in 0..rows.count {
            let of_row = weight_of_row(r);
            let g = T::read(&rows.upstream[rows.range(r)], wide_g);
            let to = &mut output[rows.range(r)];
            if are_folded_alone && let Some((to, past)) = T::straight(&mut *to, past) {
                let x = T::read(&rows.x[rows.range(r)], wide_x);
                past.store_worked_out(to, FoldedRow { given: [x, g], of_row, tables });
                continue;
            }
            let y = T::target(to, results, past);
            if through {
                let x = T::read(&rows.x[rows.range(r)], wide_x);
                write_folded([x, g], of_row, tables, y);
                for &j in &*unfolded {
                    let scale = Scale { head: head[j], tail: tail[j], rstd: rstd[j] };
                    y[j] = stepwise(x[j], g[j] * of_row * weight[j], scale, [through_mean[j], through_variance[j]]);
                }
            } else {
                write_scaled(g, of_row, [weight, rstd], y);
            }
            add_inflow(inflow.map(|inflow| &inflow[rows.range(r)]), y, wide_x);
            T::finish(to, results, past);
        }
    }
}

/// Gradients of a row of which nothing but what is folded is worked out.
struct FoldedRow<'a> {
    /// Elements, and their gradients.
    given: [&'a [f32]; 2],
    of_row: f32,
    /// Heads, and what is folded.
    tables: [&'a [f32]; 4],
}

impl Results for FoldedRow<'_> {
    #[inline(always)]
    fn work_out(&mut self, at: Range<usize>, to: &mut [f32]) {
        let given = self.given.map(|given| &given[at.clone()]);
        write_folded(given, self.of_row, self.tables.map(|table| &table[at.clone()]), to);
    }
}

/// Folds what elements of a tile meet.
#[inline(always)]
fn fold_tile(w: &mut Workspace, len: usize) {
    let Workspace { head, tail, rstd, weight, through_mean, through_variance, folded, unfolded, .. } = w;
    let (head, tail, rstd, weight) = (&head[..len], &tail[..len], &rstd[..len], &weight[..len]);
    let (mean, variance) = (&through_mean[..len], &through_variance[..len]);
    let [of_gradient, of_distance, offset] = folded;
    let (of_gradient, of_distance, offset) = (&mut of_gradient[..len], &mut of_distance[..len], &mut offset[..len]);
    let mut all = true;
    for j in 0..len {
        let scale = Scale { head: head[j], tail: tail[j], rstd: rstd[j] };
        let (values, keeps_digits) = fold(scale, weight[j], [mean[j], variance[j]]);
        [of_gradient[j], of_distance[j], offset[j]] = values;
        all &= keeps_digits;
    }
    unfolded.clear();
    if !all {
        let scale = |j| Scale { head: head[j], tail: tail[j], rstd: rstd[j] };
        unfolded.extend((0..len).filter(|&j| !fold(scale(j), weight[j], [mean[j], variance[j]]).1));
    }
}

#[inline(always)]
fn write_folded([x, g]: [&[f32]; 2], of_row: f32, tables: [&[f32]; 4], y: &mut [f32]) {
    let len = y.len();
    let [head, of_gradient, of_distance, offset] = tables.map(|table| &table[..len]);
    let (x, g) = (&x[..len], &g[..len]);
    for j in 0..len {
        y[j] = of_folded(x[j], g[j] * of_row, head[j], [of_gradient[j], of_distance[j], offset[j]]);
    }
}
