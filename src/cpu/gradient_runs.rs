//! Gradients of runs: neighbours that share a statistic, where nothing but weight and bias follows the normalization.
//! What a run shares is a number and not a table, and its sums stay in registers.

use super::ahead::{Ahead, STEP};
use super::element::Element;
use super::gradient::{Found, Job};
use super::gradient_element::{Folded, fold, of_folded, stepwise};
use super::gradient_groups::Through;
use super::gradient_kernels::add_inflow;
use super::gradient_parameters::Pair;
use super::gradient_places::{Places, Row};
use super::gradient_sums::added;
use super::moments::Scale;
use super::past_caches::PastCaches;
use super::results::Results;
use super::row_kernels::{BLOCK, FEW, LANES, last_of, total};
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Shorter runs are taken column by column.
const LEAST_RUN: usize = 64;

/// The same where there is one row, which columns have nothing to add to.
const LEAST_SINGLE_RUN: usize = 16;

/// Rows whose columns' own sums are added up together.
pub(super) const ROWS: usize = 4;

/// Some columns of a row that share a statistic and, unless each has its own, a parameter.
#[derive(Debug, Clone)]
struct Run {
    columns: Range<usize>,
    statistic: usize,
    /// That of the first column.
    parameter: usize,
}

impl<T: Element> Job<'_, T> {
    /// Whether rows are taken run by run.
    pub(super) fn by_runs(&self) -> bool {
        let least = if self.view.b == 1 { LEAST_SINGLE_RUN } else { LEAST_RUN };
        self.is_plain() && self.view.d >= least && self.longest_run() >= least
    }

    /// Neighbours that share a statistic and, unless each has its own, a parameter.
    fn longest_run(&self) -> usize {
        let d = self.view.d;
        if self.has_one_each() { d } else { self.parameters.map.d_divisor.min(d) }
    }

    /// Adds some columns of rows up. Sums of columns' own parameters stay in `places` until these are flushed.
    pub(super) fn sum_runs(
        &self,
        steps: Range<usize>,
        rows: Range<usize>,
        columns: &Range<usize>,
        places: &mut Places,
        found: &mut Found,
    ) {
        if !self.has_one_each() {
            steps.for_each(|a| rows.clone().for_each(|b| self.sum_shared(a, b, columns, found)));
            return;
        }
        if self.groups.through {
            for (a, b) in steps.clone().flat_map(|a| rows.clone().map(move |b| (a, b))) {
                found.add_to_group(a, self.sum_own(a, b, columns, None), self.groups.rstd(a));
            }
        }
        if self.wants_parameters {
            self.add_to_places(steps, rows, columns, places, found);
        }
    }

    /// Some columns of a row.
    pub(super) fn own_row(&self, a: usize, b: usize, columns: &Range<usize>) -> Row<'_, T> {
        Row {
            x: self.elements(self.x, a, b, columns),
            upstream: self.elements(self.upstream, a, b, columns),
            scale: self.groups.scale(a),
        }
    }

    /// What some columns of a row add to their group's sums, where each has a parameter of its own. Meanwhile the memory of
    /// the `output` comes, if it is asked for.
    pub(super) fn sum_own(&self, a: usize, b: usize, columns: &Range<usize>, output: Option<Ahead>) -> Pair {
        let weight = &self.parameters.weight[self.base(a, b) + columns.start..][..columns.len()];
        self.simd.dispatch(SumOwn { row: self.own_row(a, b, columns), weight, output })
    }

    /// Adds some columns of rows up for the parameters that each has of its own.
    pub(super) fn add_to_places(
        &self,
        steps: Range<usize>,
        rows: Range<usize>,
        columns: &Range<usize>,
        places: &mut Places,
        found: &mut Found,
    ) {
        let (count, row) = (steps.len() * rows.len(), |i| (steps.start + i / rows.len(), rows.start + i % rows.len()));
        let mut i = 0;
        while i + ROWS <= count {
            self.add_rows::<ROWS>(std::array::from_fn(|k| row(i + k)), columns, places, found);
            i += ROWS;
        }
        (i..count).for_each(|i| self.add_rows([row(i)], columns, places, found));
    }

    fn add_rows<const N: usize>(
        &self,
        rows: [(usize, usize); N],
        columns: &Range<usize>,
        places: &mut Places,
        found: &mut Found,
    ) {
        let bases = rows.map(|(a, b)| self.base(a, b) + columns.start);
        let rows = rows.map(|(a, b)| self.own_row(a, b, columns));
        if bases.iter().all(|base| *base == bases[0]) {
            places.add(bases[0], rows, self.simd, found);
        } else {
            bases.into_iter().zip(rows).for_each(|(base, row)| places.add(base, [row], self.simd, found));
        }
    }

    /// Adds some columns of a row up, of which runs share their parameter.
    fn sum_shared(&self, a: usize, b: usize, columns: &Range<usize>, found: &mut Found) {
        self.each_run(a, b, columns, |run| {
            let pair = self.simd.dispatch(SumShared {
                x: self.elements(self.x, a, b, &run.columns),
                upstream: self.elements(self.upstream, a, b, &run.columns),
                scale: self.groups.scale(run.statistic),
            });
            if self.groups.through {
                let weight = f64::from(self.parameters.weight[run.parameter]);
                let rstd = self.groups.rstd(run.statistic);
                found.add_to_group(run.statistic, pair.map(|sum| sum * weight), rstd);
            }
            if self.wants_parameters {
                found.parameters.add(run.parameter, pair);
            }
        });
    }

    /// Writes the gradients of some columns of a row.
    pub(super) fn write_runs(
        &self,
        a: usize,
        b: usize,
        columns: &Range<usize>,
        output: &mut [T],
        through: &impl Fn(usize) -> Through,
        past: Option<&PastCaches>,
    ) {
        self.each_run(a, b, columns, |run| {
            let Run { columns: of_run, statistic, parameter } = run;
            let weight = &self.parameters.weight[parameter..];
            let job = WriteRun {
                x: self.elements(self.x, a, b, &of_run),
                upstream: self.elements(self.upstream, a, b, &of_run),
                inflow: self.inflow.map(|inflow| self.elements(inflow, a, b, &of_run)),
                output: &mut output[of_run.start - columns.start..of_run.end - columns.start],
                scale: self.groups.scale(statistic),
                weight: if self.has_one_each() {
                    Weight::Own(&weight[..of_run.len()])
                } else {
                    Weight::Shared(weight[0])
                },
                through: self.groups.through.then(|| through(statistic)),
                past,
            };
            self.simd.dispatch(job);
        });
    }

    fn each_run(&self, a: usize, b: usize, columns: &Range<usize>, mut f: impl FnMut(Run)) {
        let (map, d) = (self.parameters.map, self.view.d);
        let mut start = columns.start;
        while start < columns.end {
            let (i_c, i_d) = (start / d, start % d);
            let end = self.end_of_run(start, self.longest_run()).min(columns.end);
            f(Run { columns: start..end, statistic: a * self.view.c + i_c, parameter: map.index(a, b, i_c, i_d) });
            start = end;
        }
    }
}

/// The sums of a run's gradients times normalized values, and of its gradients, where all have one parameter.
struct SumShared<'a, T> {
    x: &'a [T],
    upstream: &'a [T],
    scale: Scale,
}

impl<T: Element> WithSimd for SumShared<'_, T> {
    type Output = Pair;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Pair {
        let Scale { head, rstd, .. } = self.scale;
        let mut wide = [[0.0; BLOCK]; 2];
        let mut pair = [0.0; 2];
        for (x, g) in self.x.chunks(BLOCK).zip(self.upstream.chunks(BLOCK)) {
            let [wide_x, wide_g] = &mut wide;
            let (x, g) = (T::read(x, wide_x), T::read(g, wide_g));
            let (mut products, mut gradients) = ([0.0; LANES], [0.0; LANES]);
            let mut add = |x: &[f32], g: &[f32]| {
                for (((product, gradient), x), g) in products.iter_mut().zip(&mut gradients).zip(x).zip(g) {
                    *product += g * ((x - head) * rstd);
                    *gradient += g;
                }
            };
            let (mut xs, mut gs) = (x.chunks_exact(LANES), g.chunks_exact(LANES));
            for (x, g) in (&mut xs).zip(&mut gs) {
                add(x, g);
            }
            add(xs.remainder(), gs.remainder());
            let sums = [total(products), total(gradients)];
            let sums = if sums[0].is_finite() && sums[1].is_finite() {
                about_mean(sums, self.scale)
            } else {
                in_f64(x, g, self.scale)
            };
            pair = added(pair, sums);
        }
        pair
    }
}

/// Sums of gradients times what was taken about the head alone, and of gradients, about the mean.
#[inline(always)]
pub(super) fn about_mean([products, gradients]: [f32; 2], scale: Scale) -> Pair {
    let shift = f64::from(scale.tail) * f64::from(scale.rstd);
    let gradients = f64::from(gradients);
    // Without a shift there is none, however large the gradients are.
    [f64::from(products) - if shift == 0.0 { 0.0 } else { shift * gradients }, gradients]
}

/// The sums of a block that leave the range of f32, though times a small weight they may come back into it.
#[cold]
#[inline(never)]
fn in_f64(x: &[f32], g: &[f32], scale: Scale) -> Pair {
    let mut pair = [0.0; 2];
    for (x, g) in x.iter().zip(g) {
        let normalized = (x - scale.head - scale.tail) * scale.rstd;
        pair = added(pair, [f64::from(*g) * f64::from(normalized), f64::from(*g)]);
    }
    pair
}

/// As [`SumShared`], of weighted gradients, where each column has a parameter.
struct SumOwn<'a, T> {
    row: Row<'a, T>,
    weight: &'a [f32],
    output: Option<Ahead>,
}

impl<T: Element> WithSimd for SumOwn<'_, T> {
    type Output = Pair;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Pair {
        let Row { x, upstream, scale } = self.row;
        let mut wide = [[0.0; BLOCK]; 2];
        let mut pair = [0.0; 2];
        let blocks = x.chunks(BLOCK).zip(upstream.chunks(BLOCK)).zip(self.weight.chunks(BLOCK));
        for (i, ((x, g), weight)) in blocks.enumerate() {
            let [wide_x, wide_g] = &mut wide;
            let output = self.output.map(|output| output.skip(i * BLOCK));
            let of_block = sums_of_weighted([T::read(x, wide_x), T::read(g, wide_g), weight], scale, output);
            pair = added(pair, of_block);
        }
        pair
    }
}

/// The sums of a block's weighted gradients times normalized values, and of its weighted gradients. Meanwhile the memory
/// of the `output` comes, if it is asked for.
#[inline(always)]
fn sums_of_weighted(all: [&[f32]; 3], scale: Scale, output: Option<Ahead>) -> Pair {
    let Scale { head, rstd, .. } = scale;
    let [x, g, weight] = all;
    let len = x.len();
    let (mut products, mut gradients) = ([0.0; LANES], [0.0; LANES]);
    let (xs, gs, weights) = (x.as_chunks::<LANES>().0, g.as_chunks::<LANES>().0, weight.as_chunks::<LANES>().0);
    let rest = x.len() - xs.len() * LANES;
    let step = if output.is_some() { STEP / LANES } else { xs.len().max(1) };
    for (i, ((xs, gs), weights)) in xs.chunks(step).zip(gs.chunks(step)).zip(weights.chunks(step)).enumerate() {
        if let Some(output) = output {
            output.skip(i * STEP).ask(STEP.min(len - i * STEP));
        }
        for ((x, g), weight) in xs.iter().zip(gs).zip(weights) {
            add_weighted([&mut products, &mut gradients], [x, g, weight], head, rstd);
        }
    }
    if rest > 0 {
        let [x, g, weight] = rest_of(all, rest, head);
        add_weighted([&mut products, &mut gradients], [&x, &g, &weight], head, rstd);
    }
    about_mean([total(products), total(gradients)], scale)
}

/// The last `count` elements of each, and others without a gradient, which add nothing.
#[inline(always)]
pub(super) fn rest_of<const L: usize>([x, g, weight]: [&[f32]; 3], count: usize, head: f32) -> [[f32; L]; 3] {
    [last_of(x, count, head), last_of(g, count, 0.0), last_of(weight, count, 0.0)]
}

#[inline(always)]
pub(super) fn add_weighted<const L: usize>(
    [products, gradients]: [&mut [f32; L]; 2],
    [x, g, weight]: [&[f32; L]; 3],
    head: f32,
    rstd: f32,
) {
    for i in 0..L {
        let gradient = g[i] * weight[i];
        products[i] += gradient * ((x[i] - head) * rstd);
        gradients[i] += gradient;
    }
}

/// The weights of a run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Weight<'a> {
    Shared(f32),
    Own(&'a [f32]),
}

impl Weight<'_> {
    /// Those of some elements of the run.
    #[inline(always)]
    fn of(&self, range: Range<usize>) -> Self {
        match *self {
            Self::Shared(weight) => Self::Shared(weight),
            Self::Own(weights) => Self::Own(&weights[range]),
        }
    }
}

/// Writes the gradients of a run.
struct WriteRun<'a, T> {
    x: &'a [T],
    upstream: &'a [T],
    inflow: Option<&'a [T]>,
    output: &'a mut [T],
    scale: Scale,
    weight: Weight<'a>,
    /// `None` where nothing goes through the statistics: then the input is not read.
    through: Option<Through>,
    past: Option<&'a PastCaches>,
}

impl<T: Element> WithSimd for WriteRun<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let shared = if let Weight::Shared(weight) = self.weight { weight } else { 1.0 };
        let (coefficients, keeps_digits) = fold(self.scale, shared, self.through.unwrap_or_default());
        let mut wide = [[0.0; BLOCK]; 3];
        let are_folded_alone = self.through.is_some() && keeps_digits && self.inflow.is_none();
        if are_folded_alone && let Some((to, past)) = T::straight(&mut *self.output, self.past) {
            let [wide_x, wide_g, _] = &mut wide;
            let given = [T::read(self.x, wide_x), T::read(self.upstream, wide_g)];
            let head = self.scale.head;
            past.store_worked_out(to, FoldedRun { given, weight: self.weight, head, coefficients });
            return;
        }
        for (i, to) in self.output.chunks_mut(BLOCK).enumerate() {
            let at = i * BLOCK..i * BLOCK + to.len();
            let [wide_x, wide_g, results] = &mut wide;
            let g = T::read(&self.upstream[at.clone()], wide_g);
            let y = T::target(to, results, self.past);
            let weight = self.weight.of(at.clone());
            if let Some(through) = self.through {
                let x = T::read(&self.x[at.clone()], wide_x);
                if keeps_digits {
                    write_folded([x, g], weight, self.scale.head, coefficients, y);
                } else {
                    write_stepwise([x, g], weight, self.scale, through, y);
                }
            } else {
                write_scaled(g, weight, self.scale.rstd, y);
            }
            add_inflow(self.inflow.map(|inflow| &inflow[at]), y, wide_x);
            T::finish(to, results, self.past);
        }
    }
}

/// Gradients of which nothing but what is folded is worked out.
struct FoldedRun<'a> {
    /// Elements, and their gradients.
    given: [&'a [f32]; 2],
    weight: Weight<'a>,
    head: f32,
    coefficients: Folded,
}

impl Results for FoldedRun<'_> {
    #[inline(always)]
    fn work_out(&mut self, at: Range<usize>, to: &mut [f32]) {
        let given = self.given.map(|elements| &elements[at.clone()]);
        write_folded(given, self.weight.of(at), self.head, self.coefficients, to);
    }
}

/// Where nothing goes through the statistics.
#[inline(always)]
fn write_scaled(g: &[f32], weight: Weight<'_>, rstd: f32, y: &mut [f32]) {
    match weight {
        Weight::Shared(weight) => y.iter_mut().zip(g).for_each(|(y, g)| *y = g * weight * rstd),
        Weight::Own(weight) => y.iter_mut().zip(g).zip(weight).for_each(|((y, g), weight)| *y = g * weight * rstd),
    }
}

#[inline(always)]
pub(super) fn write_folded([x, g]: [&[f32]; 2], weight: Weight<'_>, head: f32, coefficients: Folded, y: &mut [f32]) {
    match weight {
        Weight::Shared(_) => {
            for ((y, x), g) in y.iter_mut().zip(x).zip(g) {
                *y = of_folded(*x, *g, head, coefficients);
            }
        }
        Weight::Own(weight) => write_own([x, g, weight], head, coefficients, y),
    }
}

#[inline(always)]
pub(super) fn write_own([x, g, weight]: [&[f32]; 3], head: f32, coefficients: Folded, y: &mut [f32]) {
    let (xs, gs, weights) = (x.as_chunks::<FEW>().0, g.as_chunks::<FEW>().0, weight.as_chunks::<FEW>().0);
    let (ys, rest) = y.as_chunks_mut::<FEW>();
    for (((y, x), g), weight) in ys.iter_mut().zip(xs).zip(gs).zip(weights) {
        *y = of_chunk([x, g, weight], head, coefficients);
    }
    if rest.is_empty() {
        return;
    }
    // Some results are written twice, so that elements which fill no chunk are no loop of their own.
    let last = (x.last_chunk::<FEW>(), g.last_chunk::<FEW>(), weight.last_chunk::<FEW>());
    if let (Some(y), (Some(x), Some(g), Some(weight))) = (y.last_chunk_mut::<FEW>(), last) {
        *y = of_chunk([x, g, weight], head, coefficients);
        return;
    }
    for (((y, x), g), weight) in y.iter_mut().zip(x).zip(g).zip(weight) {
        *y = of_folded(*x, g * weight, head, coefficients);
    }
}

/// Results of a chunk: nobody else's memory, so the compiler need not ask whether they are.
#[inline(always)]
fn of_chunk([x, g, weight]: [&[f32; FEW]; 3], head: f32, coefficients: Folded) -> [f32; FEW] {
    let mut results = [0.0; FEW];
    for (i, result) in results.iter_mut().enumerate() {
        *result = of_folded(x[i], g[i] * weight[i], head, coefficients);
    }
    results
}

#[cold]
#[inline(never)]
pub(super) fn write_stepwise([x, g]: [&[f32]; 2], weight: Weight<'_>, scale: Scale, through: Through, y: &mut [f32]) {
    for (i, ((y, x), g)) in y.iter_mut().zip(x).zip(g).enumerate() {
        let weight = match weight {
            Weight::Shared(weight) => weight,
            Weight::Own(weight) => weight[i],
        };
        *y = stepwise(*x, g * weight, scale, through);
    }
}
