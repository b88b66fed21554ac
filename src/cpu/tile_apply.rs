use super::element::{Element, block_of};
use super::epilogue::{Epilogue, clip};
use super::moments::{Scale, fold};
use super::past_caches::PastCaches;
use super::pieces::Pieces;
use super::results::Results;
use super::tile_kernels::ColumnMoments;
use crate::plan::Statistic;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// The scale and the parameters of every element of a piece.
#[derive(Debug)]
pub(super) struct Coefficients {
    pub(super) head: Vec<f32>,
    pub(super) tail: Vec<f32>,
    pub(super) rstd: Vec<f32>,
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
    /// Set where there are thresholds alone.
    pub(super) tau: Vec<f32>,
    slope: Vec<f32>,
    offset: Vec<f32>,
    /// What slope and offset do not stand for.
    unfolded: Vec<usize>,
}

impl Coefficients {
    /// Room for pieces of `len` elements.
    pub(super) fn new(len: usize) -> Self {
        let zeros = vec![0.0; len];
        let [head, tail, rstd, weight, bias, slope, offset] = std::array::from_fn(|_| zeros.clone());
        Self { head, tail, rstd, weight, bias, tau: zeros, slope, offset, unfolded: Vec::new() }
    }

    /// Repeats the scales of a row of `width` elements for the other rows of a piece.
    #[inline(always)]
    pub(super) fn repeat(&mut self, width: usize) {
        for values in [&mut self.head, &mut self.tail, &mut self.rstd] {
            let (first, others) = values.split_at_mut(width);
            others.chunks_exact_mut(width).for_each(|row| row.copy_from_slice(first));
        }
    }
}

/// How elements meet weight and bias.
#[derive(Debug, Clone, Copy)]
pub(super) enum AffineBy {
    /// By slope and offset, which have been [folded](Fold) for many rows.
    Folded,
    /// Each by its own.
    Each,
    /// All by these.
    Shared([f32; 2]),
}

/// Folds scales and parameters of `len` elements into slopes and offsets.
#[derive(Debug)]
pub(super) struct Fold<'a> {
    pub(super) coefficients: &'a mut Coefficients,
    pub(super) len: usize,
}

impl WithSimd for Fold<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let len = self.len;
        let Coefficients { tail, rstd, weight, bias, slope, offset, unfolded, .. } = self.coefficients;
        let (tail, rstd, weight, bias) = (&tail[..len], &rstd[..len], &weight[..len], &bias[..len]);
        let (slope, offset) = (&mut slope[..len], &mut offset[..len]);
        let mut all = true;
        for i in 0..len {
            let (values, keeps_digits) = fold((tail[i], rstd[i]), weight[i], bias[i]);
            [slope[i], offset[i]] = values;
            all &= keeps_digits;
        }
        unfolded.clear();
        if !all {
            unfolded.extend((0..len).filter(|&i| !fold((tail[i], rstd[i]), weight[i], bias[i]).1));
        }
    }
}

/// Sets the scale of every column from its moments.
#[derive(Debug)]
pub(super) struct SetScales<'a> {
    pub(super) moments: &'a ColumnMoments,
    pub(super) statistic: Statistic,
    pub(super) eps: f64,
    pub(super) coefficients: &'a mut Coefficients,
}

impl WithSimd for SetScales<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let ColumnMoments { count, means, squares } = self.moments;
        let Coefficients { head, tail, rstd, .. } = &mut *self.coefficients;
        let width = means.len();
        let coefficients = head[..width].iter_mut().zip(&mut tail[..width]).zip(&mut rstd[..width]);
        for ((((head, tail), rstd), mean), squares) in coefficients.zip(means).zip(squares) {
            let scale = Scale::new(*mean, squares / self.statistic.divisor(*count), self.eps);
            (*head, *tail, *rstd) = (scale.head, scale.tail, scale.rstd);
        }
        self.coefficients.repeat(width);
    }
}

/// Scales pieces of a tile that share their coefficients.
#[derive(Debug)]
pub(super) struct ApplyTile<'a, 'o, T, F> {
    /// Gives piece `i` of the input; `None` where the output holds it.
    pub(super) input: Option<F>,
    pub(super) output: &'a mut Pieces<'o, T>,
    pub(super) pieces: Range<usize>,
    /// The tile's elements in a piece.
    pub(super) range: Range<usize>,
    pub(super) coefficients: &'a Coefficients,
    pub(super) affine: AffineBy,
    /// Whether there are thresholds.
    pub(super) clips: bool,
    pub(super) epilogue: Epilogue,
    /// Room for input and results.
    pub(super) wide: &'a mut [f32],
    pub(super) results: &'a mut [f32],
    pub(super) past: Option<&'a PastCaches>,
}

impl<'i, T: Element, F: Fn(usize) -> &'i [T]> WithSimd for ApplyTile<'_, '_, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let len = self.range.len();
        let Coefficients { head, slope, offset, unfolded, .. } = self.coefficients;
        let are_folded_alone =
            matches!(self.affine, AffineBy::Folded) && unfolded.is_empty() && !self.clips && self.epilogue.is_nothing();
        for i in self.pieces {
            let to = self.output.get_mut(i, self.range.clone());
            if let (true, Some(input)) = (are_folded_alone, &self.input)
                && let Some((to, past)) = T::straight(&mut *to, self.past)
            {
                let x = T::read(input(i), self.wide);
                past.store_worked_out(to, FoldedPiece { x, coefficients: [head, slope, offset] });
                continue;
            }
            let x = block_of(self.input.as_ref().map(|input| input(i)), to, self.wide);
            let (x, y) = (&x[..len], &mut T::target(to, self.results, self.past)[..len]);
            match self.affine {
                AffineBy::Folded => apply_folded(x, y, self.coefficients),
                AffineBy::Each if self.epilogue.rounds => apply_each(x, y, self.coefficients, T::rounded),
                AffineBy::Each => apply_each(x, y, self.coefficients, |x| x),
                AffineBy::Shared(parameters) if self.epilogue.rounds => {
                    apply_shared(x, y, self.coefficients, parameters, T::rounded);
                }
                AffineBy::Shared(parameters) => apply_shared(x, y, self.coefficients, parameters, |x| x),
            }
            if self.clips {
                clip(y, |i| self.coefficients.tau[i]);
            }
            self.epilogue.activate(y);
            T::finish(to, self.results, self.past);
        }
    }
}

/// A piece of which every element is scaled by slope and offset, and no more.
struct FoldedPiece<'a> {
    x: &'a [f32],
    /// Heads, slopes and offsets.
    coefficients: [&'a [f32]; 3],
}

impl Results for FoldedPiece<'_> {
    #[inline(always)]
    fn work_out(&mut self, at: Range<usize>, to: &mut [f32]) {
        scale_folded(&self.x[at.clone()], to, self.coefficients.map(|table| &table[at.clone()]));
    }
}

#[inline(always)]
fn scale_folded(x: &[f32], y: &mut [f32], [head, slope, offset]: [&[f32]; 3]) {
    for ((((y, x), head), slope), offset) in y.iter_mut().zip(x).zip(head).zip(slope).zip(offset) {
        *y = (x - head) * slope + offset;
    }
}

#[inline(always)]
fn apply_folded(x: &[f32], y: &mut [f32], coefficients: &Coefficients) {
    let Coefficients { head, tail, rstd, weight, bias, slope, offset, unfolded, .. } = coefficients;
    scale_folded(x, y, [head, slope, offset]);
    for &i in unfolded {
        y[i] = (x[i] - head[i] - tail[i]) * rstd[i] * weight[i] + bias[i];
    }
}

/// Normalized values go through `round` before they meet the weight.
#[inline(always)]
fn apply_each(x: &[f32], y: &mut [f32], coefficients: &Coefficients, round: impl Fn(f32) -> f32) {
    let len = y.len();
    let Coefficients { head, tail, rstd, weight, bias, .. } = coefficients;
    let (head, tail, rstd) = (&head[..len], &tail[..len], &rstd[..len]);
    let (weight, bias) = (&weight[..len], &bias[..len]);
    for i in 0..len {
        y[i] = round((x[i] - head[i] - tail[i]) * rstd[i]) * weight[i] + bias[i];
    }
}

#[inline(always)]
fn apply_shared(
    x: &[f32],
    y: &mut [f32],
    coefficients: &Coefficients,
    [weight, bias]: [f32; 2],
    round: impl Fn(f32) -> f32,
) {
    let Coefficients { head, tail, rstd, .. } = coefficients;
    for ((((y, x), head), tail), rstd) in y.iter_mut().zip(x).zip(head).zip(tail).zip(rstd) {
        *y = round((x - head - tail) * rstd) * weight + bias;
    }
}
