//! Gradients of few long rows whose columns have parameters of their own: what these need is summed while the gradient of
//! the input is written, span of columns by span, so memory is read twice and no sums of all columns are kept.

use super::element::Element;
use super::gradient::{BLOCK_ROWS, Found, Job, Through};
use super::gradient_places::Places;
use super::pieces::{Pieces, bands};
use crate::plan::{Gradients, Plan};
use crate::tensor::Data;
use rayon::prelude::*;
use std::ops::Range;

/// Elements of a span of all rows: with its gradients they stay in a processor's second cache.
const SPAN: usize = 1 << 15;

/// What a span's gradients go into.
struct Span<'a, T> {
    columns: Range<usize>,
    input: Option<Pieces<'a, T>>,
    weight: Option<&'a mut [f32]>,
    bias: Option<&'a mut [f32]>,
}

/// Whether the gradients of `plan`'s parameters are the sums over rows themselves, in f32, one a column.
pub(super) fn parameters_are_columns(plan: &Plan, gradients: &Gradients) -> bool {
    let map = plan.affine.map;
    let one_each = plan.view.c == 1 && map.d_divisor == 1 && map.len == plan.view.d;
    let rows_share = map.b_scale == 0 && (map.a_scale == 0 || map.a_modulus == 1);
    let are_f32 = [&gradients.weight, &gradients.bias].into_iter().flatten().all(|g| matches!(g, Data::F32(_)));
    one_each && rows_share && are_f32 && plan.derivation.is_none() && !plan.extra.any()
}

impl<T: Element> Job<'_, T> {
    /// Whether rows are few enough for f32 to add them up, and long enough for spans of them to be tasks.
    pub(super) fn suits_spans(&self) -> bool {
        let rows = self.view.a * self.view.b;
        self.by_runs() && rows <= BLOCK_ROWS && self.row() >= SPAN
    }

    /// Writes the gradients that are there, of the input from what goes `through` each row's statistics.
    pub(super) fn write_spans(&self, through: &[Through], gradients: &mut Gradients) {
        let rows = self.view.a * self.view.b;
        let width = SPAN / rows;
        let mut inputs =
            gradients.input.as_mut().and_then(T::slice_mut).map(|to| bands(to, rows, self.row(), width).into_iter());
        let [mut weights, mut biases] = [&mut gradients.weight, &mut gradients.bias]
            .map(|gradient| gradient.as_mut().and_then(f32::slice_mut).map(|values| values.chunks_mut(width)));
        let spans: Vec<Span<'_, T>> = (0..self.row())
            .step_by(width)
            .map(|start| Span {
                columns: start..(start + width).min(self.row()),
                input: inputs.as_mut().and_then(Iterator::next),
                weight: weights.as_mut().and_then(Iterator::next),
                bias: biases.as_mut().and_then(Iterator::next),
            })
            .collect();
        spans
            .into_par_iter()
            .rev()
            .for_each_init(Places::default, |places, span| self.write_span(through, span, places));
    }

    fn write_span(&self, through: &[Through], span: Span<'_, T>, places: &mut Places) {
        let Span { columns, input, weight, bias } = span;
        let (steps, rows) = (0..self.view.a, 0..self.view.b);
        // Of so few rows nothing is handed on before it is taken.
        self.sum_own_runs(steps, rows, &columns, (false, true), places, &mut Found::default());
        let [of_weight, of_bias] = places.take();
        for (gradient, sums) in [(weight, of_weight), (bias, of_bias)] {
            if let Some(gradient) = gradient {
                gradient.copy_from_slice(sums);
            }
        }
        let Some(mut input) = input else { return };
        for row in 0..self.view.a * self.view.b {
            let to = input.get_mut(row, 0..columns.len());
            self.write_runs(row / self.view.b, row % self.view.b, &columns, to, &|s| through[s]);
        }
    }
}
