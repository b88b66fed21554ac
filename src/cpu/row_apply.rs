use super::ahead::{Ahead, STEP};
use super::element::{Element, block_of};
use super::epilogue::{Epilogue, clip};
use super::moments::{Scale, fold};
use super::past_caches::PastCaches;
use super::results::Results;
use super::row_kernels::{BLOCK, FEW};
use super::rows::Buffers;
use super::vectors::vectors_and_rest;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Neighbouring elements of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub(super) scale: Scale,
    /// The first, as the run counts them.
    pub(super) from: usize,
    /// What is read next, if that is to be asked for.
    pub(super) next: Option<Ahead>,
}

/// What happens to the normalized elements of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Affine<'a> {
    /// The parameters from that of the run's first element on.
    pub(super) weight: &'a [f32],
    pub(super) bias: &'a [f32],
    /// Whether the bias is more than zeros that stand for none.
    pub(super) has_bias: bool,
    /// Thresholds, where there are any.
    pub(super) tau: Option<&'a [f32]>,
    /// Elements of the run that share a parameter.
    pub(super) divisor: usize,
    /// Whether scale and parameters that elements share are folded: where they are by columns, so that a sample has the same
    /// bits either way.
    pub(super) folds: bool,
    pub(super) epilogue: Epilogue,
}

impl Affine<'_> {
    /// Whether it is a weight and a bias for each element and no more.
    pub(super) fn is_one_each(&self) -> bool {
        self.divisor == 1 && self.tau.is_none() && self.epilogue.is_nothing()
    }

    /// As [`apply`](Self::apply). Meanwhile what is read next comes.
    #[inline(always)]
    pub(super) fn apply_ahead<T: Element, S: Simd>(&self, simd: S, x: &[f32], y: &mut [f32], stretch: Stretch) {
        let Stretch { scale, from, next } = stretch;
        let step = if next.is_some() { STEP } else { BLOCK };
        let mut done = 0;
        for (x, y) in x.chunks(step).zip(y.chunks_mut(step)) {
            if let Some(next) = next {
                next.skip(done).ask(x.len());
            }
            self.apply::<T, S>(simd, x, y, scale, from + done);
            done += x.len();
        }
    }

    /// Stores elements past the caches as they leave the registers, if they are scaled and no more. Meanwhile what is read next
    /// comes.
    #[inline(always)]
    fn store_past<S: Simd>(&self, simd: S, x: &[f32], to: &mut [f32], stretch: Stretch, past: &PastCaches) {
        let Stretch { scale, from, next } = stretch;
        if self.divisor == 1 {
            let parameters = from..from + x.len();
            let given = [x, &self.weight[parameters.clone()], &self.bias[parameters]];
            past.store_worked_out(to, ScaledEach { simd, given, has_bias: self.has_bias, scale, next });
            return;
        }
        for (parameter, at) in alike((from, self.divisor), x.len()) {
            let (x, next) = (&x[at.clone()], next.map(|next| next.skip(at.start)));
            let parameters = (self.weight[parameter], self.bias[parameter]);
            past.store_worked_out(&mut to[at], ScaledAlike { x, parameters, folds: self.folds, scale, next });
        }
    }

    /// Scales at most [`BLOCK`] elements: those from the run's element `from` on.
    #[inline(always)]
    fn apply<T: Element, S: Simd>(&self, simd: S, x: &[f32], y: &mut [f32], scale: Scale, from: usize) {
        if self.epilogue.rounds {
            normalize_rounded::<T>(x, y, scale);
            affine(y, self.weight, self.bias, (from, self.divisor));
        } else if self.divisor == 1 {
            let parameters = from..from + x.len();
            let given = [x, &self.weight[parameters.clone()], &self.bias[parameters]];
            scale_each(simd, given, y, scale, self.has_bias);
        } else {
            scale_shared(x, y, scale, self.weight, self.bias, (from, self.divisor), self.folds);
        }
        if let Some(tau) = self.tau {
            clip(y, |i| tau[(from + i) / self.divisor]);
        }
        self.epilogue.activate(y);
    }
}

/// Scales neighbouring elements of one run: those from the run's element `from` on.
#[derive(Debug)]
pub(super) struct ApplyRun<'a, T> {
    /// `None` where `output` holds the input.
    pub(super) input: Option<&'a [T]>,
    pub(super) output: &'a mut [T],
    pub(super) scale: Scale,
    pub(super) affine: Affine<'a>,
    pub(super) from: usize,
    /// How many elements beyond them lies what is read next, if that is to be asked for.
    pub(super) next_by: Option<usize>,
    /// Whether what goes past the caches does so as it leaves the registers.
    pub(super) straight: bool,
    pub(super) buffers: &'a mut Buffers,
}

impl<T: Element> WithSimd for ApplyRun<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Buffers { wide, results, past } = self.buffers;
        let past = past.as_ref();
        if let Some(input) = self.input.filter(|_| self.straight)
            && let Some((to, past)) = T::straight(&mut *self.output, past)
        {
            let next = self.next_by.map(|by| Ahead::of(input).skip(by));
            let stretch = Stretch { scale: self.scale, from: self.from, next };
            self.affine.store_past(simd, T::read(input, wide), to, stretch, past);
            return;
        }
        let mut done = 0;
        for to in self.output.chunks_mut(BLOCK) {
            let len = to.len();
            let input = self.input.map(|input| &input[done..done + len]);
            let next = self.next_by.map(|by| Ahead::of(input.unwrap_or(to)).skip(by));
            let x = block_of(input, to, wide);
            let stretch = Stretch { scale: self.scale, from: self.from + done, next };
            self.affine.apply_ahead::<T, S>(simd, x, T::target(to, results, past), stretch);
            T::finish(to, results, past);
            done += len;
        }
    }
}

/// Normalized values as they are when they have been stored.
#[inline(always)]
fn normalize_rounded<T: Element>(x: &[f32], y: &mut [f32], scale: Scale) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = T::rounded((x - scale.head - scale.tail) * scale.rstd);
    }
}

/// Weight and bias in place.
#[inline(always)]
fn affine(y: &mut [f32], weight: &[f32], bias: &[f32], (from, divisor): (usize, usize)) {
    for (i, y) in y.iter_mut().enumerate() {
        let parameter = (from + i) / divisor;
        *y = *y * weight[parameter] + bias[parameter];
    }
}

/// Scales elements, each by its weight and bias. Zeros that stand for no bias are not read, since they would push what is
/// needed out of the nearest cache.
#[inline(always)]
fn scale_each<S: Simd>(simd: S, given: [&[f32]; 3], y: &mut [f32], scale: Scale, has_bias: bool) {
    let ([x, weight, bias], [rest, ..]) = vectors_and_rest::<S, 3>(given, y.len());
    let vectors = S::as_mut_simd_f32s(y).0;
    if has_bias {
        scale_vectors(simd, [x, weight], bias.iter().copied(), vectors, scale);
    } else {
        scale_vectors(simd, [x, weight], std::iter::repeat(simd.splat_f32s(0.0)), vectors, scale);
    }
    // Whole chunks of the last elements, some of which are written twice.
    let last = y.len().saturating_sub(rest.len().next_multiple_of(FEW))..y.len();
    let [x, weight, bias] = given;
    scale_few(&x[last.clone()], &mut y[last.clone()], scale, &weight[last.clone()], &bias[last]);
}

#[inline(always)]
fn scale_vectors<S: Simd>(
    simd: S,
    [x, weight]: [&[S::f32s]; 2],
    bias: impl Iterator<Item = S::f32s>,
    y: &mut [S::f32s],
    Scale { head, tail, rstd }: Scale,
) {
    let [head, tail, rstd] = [simd.splat_f32s(head), simd.splat_f32s(tail), simd.splat_f32s(rstd)];
    for (((y, x), weight), bias) in y.iter_mut().zip(x).zip(weight).zip(bias) {
        let distance = simd.sub_f32s(simd.sub_f32s(*x, head), tail);
        *y = simd.add_f32s(simd.mul_f32s(simd.mul_f32s(distance, rstd), *weight), bias);
    }
}

/// As [`scale_each`], for so few elements that vectors of a known length are faster than the widest.
#[inline(always)]
pub(super) fn scale_few(x: &[f32], y: &mut [f32], scale: Scale, weight: &[f32], bias: &[f32]) {
    let xs = x.as_chunks::<FEW>().0;
    let (ys, rest) = y.as_chunks_mut::<FEW>();
    let (weights, biases) = (weight.as_chunks::<FEW>().0, bias.as_chunks::<FEW>().0);
    for (((y, x), weight), bias) in ys.iter_mut().zip(xs).zip(weights).zip(biases) {
        *y = scaled(x, scale, weight, bias);
    }
    if rest.is_empty() {
        return;
    }
    // Some results are written twice, so that elements which fill no chunk are no loop of their own.
    let last = (x.last_chunk::<FEW>(), weight.last_chunk::<FEW>(), bias.last_chunk::<FEW>());
    if let (Some(y), (Some(x), Some(weight), Some(bias))) = (y.last_chunk_mut::<FEW>(), last) {
        *y = scaled(x, scale, weight, bias);
        return;
    }
    for (((y, x), weight), bias) in y.iter_mut().zip(x).zip(weight).zip(bias) {
        *y = (x - scale.head - scale.tail) * scale.rstd * weight + bias;
    }
}

/// Results of a chunk: nobody else's memory, so the compiler need not ask whether they are.
#[inline(always)]
fn scaled(x: &[f32; FEW], scale: Scale, weight: &[f32; FEW], bias: &[f32; FEW]) -> [f32; FEW] {
    let mut results = [0.0; FEW];
    for (i, result) in results.iter_mut().enumerate() {
        *result = (x[i] - scale.head - scale.tail) * scale.rstd * weight[i] + bias[i];
    }
    results
}

/// As [`scale_few`], where `divisor` neighbours share a parameter.
#[inline(always)]
fn scale_shared(
    x: &[f32],
    y: &mut [f32],
    scale: Scale,
    weight: &[f32],
    bias: &[f32],
    (from, divisor): (usize, usize),
    folds: bool,
) {
    for (parameter, at) in alike((from, divisor), x.len()) {
        scale_alike(&x[at.clone()], &mut y[at], scale, (weight[parameter], bias[parameter]), folds);
    }
}

/// The parameter of each stretch of elements that share one, of so many from the run's element `from` on.
#[inline(always)]
fn alike((from, divisor): (usize, usize), len: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let (parameter, start) = ((from + done) / divisor, done);
        done = (divisor - (from + done) % divisor).min(len - done) + done;
        (start < len).then_some((parameter, start..done))
    })
}

/// Scales elements that share weight and bias.
#[inline(always)]
fn scale_alike(x: &[f32], y: &mut [f32], scale: Scale, (weight, bias): (f32, f32), folds: bool) {
    let ([slope, offset], keeps_digits) = fold((scale.tail, scale.rstd), weight, bias);
    let run = y.iter_mut().zip(x);
    if folds && keeps_digits {
        run.for_each(|(y, x)| *y = (x - scale.head) * slope + offset);
    } else {
        run.for_each(|(y, x)| *y = (x - scale.head - scale.tail) * scale.rstd * weight + bias);
    }
}

/// Elements that are scaled each by its weight and bias.
struct ScaledEach<'a, S> {
    simd: S,
    /// Elements, weights and biases.
    given: [&'a [f32]; 3],
    has_bias: bool,
    scale: Scale,
    next: Option<Ahead>,
}

impl<S: Simd> Results for ScaledEach<'_, S> {
    #[inline(always)]
    fn work_out(&mut self, at: Range<usize>, to: &mut [f32]) {
        if let Some(next) = self.next {
            next.skip(at.start).ask(at.len());
        }
        let [x, weight, bias] = self.given;
        scale_each(self.simd, [&x[at.clone()], &weight[at.clone()], &bias[at]], to, self.scale, self.has_bias);
    }
}

/// Elements that are scaled by the same weight and bias.
struct ScaledAlike<'a> {
    x: &'a [f32],
    parameters: (f32, f32),
    folds: bool,
    scale: Scale,
    next: Option<Ahead>,
}

impl Results for ScaledAlike<'_> {
    #[inline(always)]
    fn work_out(&mut self, at: Range<usize>, to: &mut [f32]) {
        if let Some(next) = self.next {
            next.skip(at.start).ask(at.len());
        }
        scale_alike(&self.x[at], to, self.scale, self.parameters, self.folds);
    }
}
