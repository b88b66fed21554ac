//! Gradients of rows whose columns have parameters of their own: a row's gradient is written while what its parameters
//! need is added up, so a row comes from memory once and is read twice.

use super::ahead::{self, Ahead, STEP};
use super::element::Element;
use super::gradient::{Found, Job};
use super::gradient_element::{Folded, fold};
use super::gradient_groups::Through;
use super::gradient_kernels::add_inflow;
use super::gradient_places::{Places, Row};
use super::gradient_sums::added;
use super::moments::Scale;
use super::past_caches::PastCaches;
use super::results::{Results, write};
use super::vectors::vectors_and_rest;
use pulp::{Scalar, Simd, WithSimd};
use std::ops::Range;

/// What a task writes rows with.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) places: Places,
    past: Option<PastCaches>,
    /// How many elements beyond those of a row lies what is read next, if that is to be asked for.
    next_by: Option<usize>,
}

impl<T: Element> Job<'_, T> {
    pub(super) fn writing(&self, next_by: Option<usize>) -> Writing {
        Writing { places: Places::default(), past: self.past_caches(), next_by }
    }

    /// Whether each row is one of those: then sums over groups are found right before they are used.
    pub(super) fn by_own_rows(&self) -> bool {
        self.by_runs() && self.has_one_each() && self.groups.through
    }

    /// Writes the gradients of some steps of `a`, and adds up what their parameters need.
    pub(super) fn write_own_rows(&self, steps: Range<usize>, output: &mut [T], found: &mut Found) {
        let (b, row) = (self.view.b, self.row());
        let asks_ahead = ahead::pays::<T>(self.view, self.threads);
        let asks_for_output = asks_ahead && !self.past_caches;
        let mut writing = self.writing(asks_ahead.then_some(row));
        for (a, output) in steps.zip(output.chunks_mut(b * row)) {
            let mut sums = [0.0; 2];
            for (b, output) in output.chunks(row).enumerate() {
                sums = added(sums, self.sum_own(a, b, &(0..row), asks_for_output.then(|| Ahead::of(output))));
            }
            found.add_to_eps(sums, self.groups.rstd(a));
            let through = self.groups.through_of(a, sums);
            for (b, output) in output.chunks_mut(row).enumerate() {
                self.write_own_row((a, b), &(0..row), output, through, &mut writing, found);
            }
        }
        writing.places.flush(found);
    }

    /// Writes the gradients of some columns of a row, and adds what their parameters need to the places.
    pub(super) fn write_own_row(
        &self,
        (a, b): (usize, usize),
        columns: &Range<usize>,
        output: &mut [T],
        through: Through,
        Writing { places, past, next_by }: &mut Writing,
        found: &mut Found,
    ) {
        let past = past.as_ref();
        let row = self.own_row(a, b, columns);
        let base = self.base(a, b) + columns.start;
        let (coefficients, keeps_digits) = fold(row.scale, 1.0, through);
        if self.wants_parameters && self.groups.through && keeps_digits {
            self.simd.dispatch(WriteAndAdd {
                row,
                weight: &self.parameters.weight[base..][..columns.len()],
                inflow: self.inflow.map(|inflow| self.elements(inflow, a, b, columns)),
                output,
                coefficients,
                sums: places.for_row(base, columns.len(), found),
                next_by: *next_by,
                past,
            });
            return;
        }
        if self.wants_parameters {
            places.add(base, [row], self.simd, found);
        }
        self.write_runs(a, b, columns, output, &|_| through, past);
    }
}

/// Writes the gradients of some columns of a row, and adds those of their parameters.
struct WriteAndAdd<'a, T> {
    row: Row<'a, T>,
    weight: &'a [f32],
    inflow: Option<&'a [T]>,
    output: &'a mut [T],
    coefficients: Folded,
    sums: [&'a mut [f32]; 2],
    next_by: Option<usize>,
    past: Option<&'a PastCaches>,
}

impl<T: Element> WithSimd for WriteAndAdd<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { row, weight, inflow, output, coefficients, sums, next_by, past } = self;
        let Scale { head, tail, rstd } = row.scale;
        let numbers = [[head, tail, rstd], coefficients];
        let gradients = OwnGradients { simd, row, weight, inflow, numbers, sums, next_by, wide: [[0.0; STEP]; 2] };
        write(gradients, output, &mut [0.0; STEP], past);
    }
}

struct OwnGradients<'a, T, S> {
    simd: S,
    row: Row<'a, T>,
    weight: &'a [f32],
    inflow: Option<&'a [T]>,
    /// `[head, tail, rstd]`, and what is folded.
    numbers: [[f32; 3]; 2],
    sums: [&'a mut [f32]; 2],
    next_by: Option<usize>,
    wide: [[f32; STEP]; 2],
}

impl<T: Element, S: Simd> Results for OwnGradients<'_, T, S> {
    #[inline(always)]
    fn work_out(&mut self, at: Range<usize>, to: &mut [f32]) {
        let (x, g) = (&self.row.x[at.clone()], &self.row.upstream[at.clone()]);
        if let Some(next_by) = self.next_by {
            Ahead::of(x).skip(next_by).ask(x.len());
            Ahead::of(g).skip(next_by).ask(g.len());
        }
        let ([wide_x, wide_g], [of_weight, of_bias]) = (&mut self.wide, &mut self.sums);
        let given = [T::read(x, wide_x), T::read(g, wide_g), &self.weight[at.clone()]];
        let sums = [&mut of_weight[at.clone()], &mut of_bias[at.clone()]];
        write_and_add(self.simd, given, self.numbers, to, sums);
        add_inflow(self.inflow.map(|inflow| &inflow[at]), to, wide_x);
    }
}

/// From elements, their gradients and weights; with `[head, tail, rstd]` and what is folded.
#[inline(always)]
fn write_and_add<S: Simd>(
    simd: S,
    given: [&[f32]; 3],
    numbers: [[f32; 3]; 2],
    y: &mut [f32],
    [of_weight, of_bias]: [&mut [f32]; 2],
) {
    let (vectors, rest) = vectors_and_rest::<S, 3>(given, y.len());
    let (y, y_rest) = S::as_mut_simd_f32s(y);
    let (of_weight, of_weight_rest) = S::as_mut_simd_f32s(of_weight);
    let (of_bias, of_bias_rest) = S::as_mut_simd_f32s(of_bias);
    write_and_add_vectors(simd, vectors, numbers, [y, of_weight, of_bias]);
    write_and_add_vectors(Scalar, rest, numbers, [y_rest, of_weight_rest, of_bias_rest]);
}

#[inline(always)]
fn write_and_add_vectors<S: Simd>(
    simd: S,
    [x, g, weight]: [&[S::f32s]; 3],
    [[head, tail, rstd], [of_gradient, of_distance, offset]]: [[f32; 3]; 2],
    [y, of_weight, of_bias]: [&mut [S::f32s]; 3],
) {
    let [head, tail, rstd] = [simd.splat_f32s(head), simd.splat_f32s(tail), simd.splat_f32s(rstd)];
    let [of_gradient, of_distance] = [simd.splat_f32s(of_gradient), simd.splat_f32s(of_distance)];
    let offset = simd.splat_f32s(offset);
    let results = y.iter_mut().zip(of_weight).zip(of_bias);
    for (((x, g), weight), ((y, of_weight), of_bias)) in x.iter().zip(g).zip(weight).zip(results) {
        let (x, g) = (*x, *g);
        let distance = simd.sub_f32s(x, head);
        let normalized = simd.mul_f32s(simd.sub_f32s(distance, tail), rstd);
        *of_weight = simd.add_f32s(*of_weight, simd.mul_f32s(g, normalized));
        *of_bias = simd.add_f32s(*of_bias, g);
        let scaled = simd.mul_f32s(simd.mul_f32s(g, *weight), of_gradient);
        *y = simd.add_f32s(simd.sub_f32s(scaled, simd.mul_f32s(distance, of_distance)), offset);
    }
}
