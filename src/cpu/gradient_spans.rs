//! Gradients of few long rows whose columns have parameters of their own: what these need is summed while the gradient of
//! the input is written, span of columns by span, so no sums of all columns are kept; some rows at a time, which a cache
//! holds meanwhile.

use super::element::Element;
use super::gradient::{BLOCK_ROWS, CACHED, Found, Job};
use super::gradient_groups::Through;
use super::gradient_parameters::Pair;
use super::gradient_rows::Writing;
use super::gradient_sums::added;
use super::parallel;
use super::pieces::{Pieces, bands};
use crate::plan::{Gradients, Plan, View};
use crate::tensor::Data;
use rayon::prelude::*;
use std::ops::Range;

/// Elements of a span of a block's rows: with its gradients they stay in a processor's second cache.
const SPAN: usize = 1 << 15;

/// Elements of a block of rows: with their gradients the cache that processors share holds them.
const CACHED_ROWS: usize = 1 << 19;

/// Rows of a block at least that is worth while; else all rows are one: adding a block's sums to the gradients of
/// parameters moves as many bytes as reading two of its rows again.
const LEAST_CACHED: usize = 4;

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

    /// Writes the gradients that are there: of some groups that a cache holds what goes through their statistics, then
    /// span by span what they give.
    pub(super) fn by_spans(&self, gradients: &mut Gradients) {
        let View { a, b, .. } = self.view;
        let cached = CACHED_ROWS / (b * self.row());
        // Rows are added up one by one, so how many are a block changes no bit.
        let steps = if cached * b < LEAST_CACHED { a } else { cached.max(self.threads / b) };
        for first in (0..a).step_by(steps) {
            let some = first..(first + steps).min(a);
            self.write_spans(some.clone(), &self.through_of_steps(some), gradients);
        }
    }

    /// What goes through the statistics of each of some groups. A group's sums are cut by the length of its rows alone: as
    /// elsewhere, not at all where a cache holds it.
    fn through_of_steps(&self, steps: Range<usize>) -> Vec<Through> {
        if !self.groups.through {
            return vec![[0.0; 2]; steps.len()];
        }
        let (b, row) = (self.view.b, self.row());
        let width = if b * row <= CACHED { row } else { self.block().1 };
        let spans = row.div_ceil(width);
        let sum = |i: usize| {
            let (a, start) = (steps.start + i / spans, i % spans * width);
            let columns = start..(start + width).min(row);
            (0..b).map(|b| self.sum_own(a, b, &columns, None)).fold([0.0; 2], added)
        };
        let of_spans: Vec<Pair> = parallel::map_each(self.threads, steps.len() * spans, sum);
        let of_groups = of_spans.chunks(spans).map(|pairs| pairs.iter().copied().fold([0.0; 2], added));
        steps.zip(of_groups).map(|(a, sums)| self.groups.through_of(a, sums)).collect()
    }

    /// Writes the gradients of some groups' input from what goes `through` their statistics, and adds those of the
    /// parameters up.
    fn write_spans(&self, steps: Range<usize>, through: &[Through], gradients: &mut Gradients) {
        let (rows, row) = (steps.len() * self.view.b, self.row());
        let width = SPAN / rows;
        let own = steps.start * self.view.b * row..steps.end * self.view.b * row;
        let mut inputs =
            gradients.input.as_mut().and_then(T::slice_mut).map(|to| bands(&mut to[own], rows, row, width).into_iter());
        let [mut weights, mut biases] = [&mut gradients.weight, &mut gradients.bias]
            .map(|gradient| gradient.as_mut().and_then(f32::slice_mut).map(|values| values.chunks_mut(width)));
        let spans: Vec<Span<'_, T>> = (0..row)
            .step_by(width)
            .map(|start| Span {
                columns: start..(start + width).min(row),
                input: inputs.as_mut().and_then(Iterator::next),
                weight: weights.as_mut().and_then(Iterator::next),
                bias: biases.as_mut().and_then(Iterator::next),
            })
            .collect();
        let write = |writing: &mut Writing, span| self.write_span(steps.clone(), through, span, writing);
        if self.threads > 1 {
            spans.into_par_iter().rev().for_each_init(|| self.writing(None), write);
        } else {
            let mut writing = self.writing(None);
            spans.into_iter().rev().for_each(|span| write(&mut writing, span));
        }
    }

    fn write_span(&self, steps: Range<usize>, through: &[Through], span: Span<'_, T>, writing: &mut Writing) {
        let Span { columns, input, weight, bias } = span;
        let (first, b) = (steps.start, self.view.b);
        let mut gradients = [weight, bias];
        if first > 0 {
            writing.places.resume(self.base(0, 0) + columns.start, first * b, &gradients);
        }
        // Of so few rows nothing is handed on before it is taken.
        let mut nothing = Found::default();
        if let Some(mut input) = input {
            for row in 0..steps.len() * b {
                let (a, to) = (row / b, input.get_mut(row, 0..columns.len()));
                self.write_own_row((first + a, row % b), &columns, to, through[a], writing, &mut nothing);
            }
        } else {
            self.add_to_places(steps, 0..b, &columns, &mut writing.places, &mut nothing);
        }
        for (gradient, sums) in gradients.iter_mut().zip(writing.places.take()) {
            if let Some(gradient) = gradient {
                gradient.copy_from_slice(sums);
            }
        }
    }
}
