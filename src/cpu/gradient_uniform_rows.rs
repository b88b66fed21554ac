//! Gradients column by column where nothing but weight and bias follows the normalization and each row has one of either, as
//! a channel has: what a row's parameters need stays in registers, and no table is made of its weight.

use super::element::Element;
use super::gradient::{BLOCK_ROWS, Found, Job};
use super::gradient_columns::Rows;
use super::gradient_kernels::Workspace;
use super::row_kernels::total;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// A row's columns that are summed side by side.
const LANES: usize = 16;

impl<T: Element> Job<'_, T> {
    /// Whether each row has one parameter, and nothing else.
    pub(super) fn by_uniform_rows(&self) -> bool {
        let map = self.parameters.map;
        self.is_plain() && map.c_scale == 0 && map.d_divisor >= self.view.d
    }

    /// Adds rows of a tile up.
    pub(super) fn sum_uniform_rows(
        &self,
        a: usize,
        rows: &Range<usize>,
        tile: &Range<usize>,
        w: &mut Workspace,
        found: &mut Found,
    ) {
        self.set_scales(a, tile, w);
        for first in rows.clone().step_by(BLOCK_ROWS) {
            let count = BLOCK_ROWS.min(rows.end - first);
            let parameters: [usize; BLOCK_ROWS] = std::array::from_fn(|i| self.base(a, first + i.min(count - 1)));
            let sums = self.simd.dispatch(AddRows {
                rows: self.rows_of(a * self.view.b + first, count, tile),
                weights: parameters.map(|p| self.parameters.weight[p]),
                w,
            });
            if self.groups.through {
                self.flush_groups(a, tile, w, found);
            }
            if self.wants_parameters {
                parameters.iter().zip(sums).take(count).for_each(|(p, sums)| {
                    found.parameters.add(*p, sums.map(f64::from));
                });
            }
        }
    }
}

/// Adds rows to the sums of columns, and returns their own.
struct AddRows<'a, T> {
    rows: Rows<'a, T>,
    weights: [f32; BLOCK_ROWS],
    w: &'a mut Workspace,
}

impl<T: Element> WithSimd for AddRows<'_, T> {
    type Output = [[f32; 2]; BLOCK_ROWS];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Self::Output {
        let Self { rows, weights, w } = self;
        let len = rows.columns;
        let Workspace { head, tail, rstd, products, gradients, wide_rows, .. } = w;
        let [wide_x, wide_g, ..] = &mut wide_rows.0;
        let scales = [&head[..len], &tail[..len], &rstd[..len]];
        let mut columns = [&mut products[..len], &mut gradients[..len]];
        let mut sums = [[0.0; 2]; BLOCK_ROWS];
        for (r, sums) in sums.iter_mut().enumerate().take(rows.count) {
            let at = rows.range(r);
            let given = [T::read(&rows.x[at.clone()], wide_x), T::read(&rows.upstream[at], wide_g)];
            *sums = add_row(given, weights[r], scales, &mut columns);
        }
        sums
    }
}

/// Adds a row to the sums of columns, of weighted gradients times normalized values and of weighted gradients; returns the
/// same of the row, without the weight.
#[inline(always)]
fn add_row(given: [&[f32]; 2], weight: f32, scales: [&[f32]; 3], columns: &mut [&mut [f32]; 2]) -> [f32; 2] {
    let len = given[0].len();
    // Sums that are indexed by anything but constants lie in memory: those of what fills no chunk are others.
    let (mut lanes, mut rest) = ([[0.0; LANES]; 2], [[0.0; LANES]; 2]);
    let whole = len / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        add_chunk(start..start + LANES, given, weight, scales, columns, &mut lanes);
    }
    add_chunk(whole..len, given, weight, scales, columns, &mut rest);
    let mut sums = [0.0; 2];
    for ((sum, lanes), rest) in sums.iter_mut().zip(&mut lanes).zip(&rest) {
        lanes.iter_mut().zip(rest).for_each(|(lane, rest)| *lane += rest);
        *sum = total(*lanes);
    }
    sums
}

/// Adds at most [`LANES`] columns of a row to their sums and to those of the row.
#[inline(always)]
fn add_chunk(
    at: Range<usize>,
    [x, g]: [&[f32]; 2],
    weight: f32,
    [head, tail, rstd]: [&[f32]; 3],
    [products, gradients]: &mut [&mut [f32]; 2],
    [of_weight, of_bias]: &mut [[f32; LANES]; 2],
) {
    let len = at.len();
    let (x, g) = (&x[at.clone()], &g[at.clone()]);
    let (head, tail, rstd) = (&head[at.clone()], &tail[at.clone()], &rstd[at.clone()]);
    let (products, gradients) = (&mut products[at.clone()], &mut gradients[at]);
    for j in 0..len {
        let product = g[j] * ((x[j] - head[j] - tail[j]) * rstd[j]);
        products[j] += product * weight;
        gradients[j] += g[j] * weight;
        of_weight[j] += product;
        of_bias[j] += g[j];
    }
}
