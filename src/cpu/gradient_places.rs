//! Sums over rows where every column has a parameter of its own: gradients times normalized values for weights, and
//! gradients for biases. Rows are added one after the other, several of them while a column's sums are in registers.

use super::element::Element;
use super::gradient::{BLOCK_ROWS, Found};
use super::moments::Scale;
use super::row_kernels::BLOCK;
use super::vectors::vectors_and_rest;
use pulp::{Scalar, Simd, WithSimd};

/// Sums of some rows in f32.
#[derive(Debug, Default)]
pub(super) struct Places {
    of_weight: Vec<f32>,
    of_bias: Vec<f32>,
    /// The parameter of the first column, and the rows so far.
    base: usize,
    rows: usize,
    /// Room for blocks in f32.
    wide: Vec<f32>,
}

impl Places {
    /// Hands the sums on.
    pub(super) fn flush(&mut self, found: &mut Found) {
        if self.rows > 0 {
            found.parameters.add_run(self.base, &self.of_weight, &self.of_bias);
        }
        self.rows = 0;
    }

    /// Goes on from what `rows` rows gave weights and biases, where they are wanted, whose first has parameter `base`.
    pub(super) fn resume(&mut self, base: usize, rows: usize, sums: &[Option<&mut [f32]>; 2]) {
        let columns = sums.iter().flatten().map(|sums| sums.len()).next().unwrap_or(0);
        for (own, sums) in [&mut self.of_weight, &mut self.of_bias].into_iter().zip(sums) {
            own.clear();
            match sums {
                Some(sums) => own.extend_from_slice(sums),
                None => own.resize(columns, 0.0),
            }
        }
        (self.base, self.rows) = (base, rows);
    }

    /// The sums of weights and of biases, instead of handing them on.
    pub(super) fn take(&mut self) -> [&[f32]; 2] {
        self.rows = 0;
        [&self.of_weight, &self.of_bias]
    }

    /// Adds rows up, whose first column has parameter `base`.
    pub(super) fn add<T: Element, const N: usize>(
        &mut self,
        base: usize,
        rows: [Row<'_, T>; N],
        simd: pulp::Arch,
        found: &mut Found,
    ) {
        self.turn_to(base, rows[0].x.len(), N, found);
        self.wide.resize(self.wide.len().max(2 * N * BLOCK), 0.0);
        simd.dispatch(AddRows { rows, sums: [&mut self.of_weight, &mut self.of_bias], wide: &mut self.wide });
    }

    /// The sums of weights and of biases for one row more, to be added to.
    pub(super) fn for_row(&mut self, base: usize, columns: usize, found: &mut Found) -> [&mut [f32]; 2] {
        self.turn_to(base, columns, 1, found);
        [&mut self.of_weight, &mut self.of_bias]
    }

    /// Makes the sums those of the parameters from `base` on, and `rows` more rows: others, or of as many as f32 adds up,
    /// are handed on.
    fn turn_to(&mut self, base: usize, columns: usize, rows: usize, found: &mut Found) {
        if self.base != base || self.rows + rows > BLOCK_ROWS || self.of_weight.len() != columns {
            self.flush(found);
        }
        if self.rows == 0 {
            for sums in [&mut self.of_weight, &mut self.of_bias] {
                sums.clear();
                sums.resize(columns, 0.0);
            }
            self.base = base;
        }
        self.rows += rows;
    }
}

/// What of a row is summed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a, T> {
    pub(super) x: &'a [T],
    pub(super) upstream: &'a [T],
    pub(super) scale: Scale,
}

struct AddRows<'a, T, const N: usize> {
    rows: [Row<'a, T>; N],
    sums: [&'a mut [f32]; 2],
    /// Two blocks a row.
    wide: &'a mut [f32],
}

impl<T: Element, const N: usize> WithSimd for AddRows<'_, T, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [of_weight, of_bias] = self.sums;
        let scales = self.rows.map(|row| row.scale);
        for (i, (of_weight, of_bias)) in of_weight.chunks_mut(BLOCK).zip(of_bias.chunks_mut(BLOCK)).enumerate() {
            let at = i * BLOCK..i * BLOCK + of_weight.len();
            let (mut rows, mut rows_rest) = ([[&[][..]; 2]; N], [[&[][..]; 2]; N]);
            for (k, (row, wide)) in self.rows.iter().zip(self.wide.chunks_mut(2 * BLOCK)).enumerate() {
                let (x, upstream) = wide.split_at_mut(BLOCK);
                let row = [T::read(&row.x[at.clone()], x), T::read(&row.upstream[at.clone()], upstream)];
                (rows[k], rows_rest[k]) = vectors_and_rest::<S, 2>(row, of_weight.len());
            }
            let (of_weight, of_weight_rest) = S::as_mut_simd_f32s(of_weight);
            let (of_bias, of_bias_rest) = S::as_mut_simd_f32s(of_bias);
            add_rows(simd, rows, scales, [of_weight, of_bias]);
            add_rows(Scalar, rows_rest, scales, [of_weight_rest, of_bias_rest]);
        }
    }
}

#[inline(always)]
fn add_rows<S: Simd, const N: usize>(
    simd: S,
    rows: [[&[S::f32s]; 2]; N],
    scales: [Scale; N],
    [of_weight, of_bias]: [&mut [S::f32s]; 2],
) {
    let mut splat = [[simd.splat_f32s(0.0); 3]; N];
    for (splat, Scale { head, tail, rstd }) in splat.iter_mut().zip(scales) {
        *splat = [simd.splat_f32s(head), simd.splat_f32s(tail), simd.splat_f32s(rstd)];
    }
    for (j, (of_weight, of_bias)) in of_weight.iter_mut().zip(of_bias).enumerate() {
        let (mut products, mut gradients) = (*of_weight, *of_bias);
        for ([x, g], [head, tail, rstd]) in rows.into_iter().zip(splat) {
            let normalized = simd.mul_f32s(simd.sub_f32s(simd.sub_f32s(x[j], head), tail), rstd);
            products = simd.add_f32s(products, simd.mul_f32s(g[j], normalized));
            gradients = simd.add_f32s(gradients, g[j]);
        }
        (*of_weight, *of_bias) = (products, gradients);
    }
}
