use super::ahead::{Ahead, STEP};
use super::element::{Element, block_of};
use super::epilogue::{Epilogue, clip};
use super::moments::{Moments, Scale, float, fold, in_range, narrow};
use super::rows::Buffers;
use super::vectors::vectors_and_rest;
use pulp::{Simd, WithSimd};
use std::hint::black_box;

/// Elements of a run that are summed in f32 before f64 takes over.
pub(super) const BLOCK: usize = 1024;

/// Independent sums, so that additions neither wait for each other nor grow long.
pub(super) const LANES: usize = 32;

/// The same of a run of at most [`MOST_OF_FEW`] elements.
pub(super) const FEW: usize = 8;
pub(super) const MOST_OF_FEW: usize = 16 * FEW;

/// The moments of at most [`BLOCK`] neighbouring elements.
#[derive(Debug)]
pub(super) struct BlockMoments<'a, T> {
    pub(super) elements: &'a [T],
    pub(super) buffer: &'a mut [f32],
    pub(super) centred: bool,
    /// The mean of no fewer elements of the same group, where it is known.
    pub(super) mean_so_far: Option<f64>,
    /// Where their results will go, if that is to be asked for.
    pub(super) output: Option<Ahead>,
}

impl<T: Element> WithSimd for BlockMoments<'_, T> {
    type Output = Moments;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Moments {
        let x = T::read(self.elements, self.buffer);
        let head = match self.mean_so_far {
            _ if !self.centred => 0.0,
            // What rounding squares about it costs is less than what its distance adds to the variance.
            Some(mean) => narrow(mean),
            None => head_of::<LANES>(x),
        };
        let [sums, squares] = sums_about::<LANES>(x, head, self.output);
        let (sum, squares) = (hidden_total(sums), hidden_total(squares));
        if !in_range(squares) {
            return Moments::in_f64(x.iter().copied(), self.centred);
        }
        Moments::about(head, float(x.len()), sum, squares, self.centred)
    }
}

/// A value near the block's mean: the mean of its first quarter, or somewhat more.
///
/// The squared distance of a quarter's mean from the whole's is at most three variances, so what
/// rounding the squares about it costs is bounded whatever the elements are. Summing about the first
/// element keeps the digits of large means, and makes equal elements exact.
#[inline(always)]
fn head_of<const L: usize>(x: &[f32]) -> f32 {
    head(x[0], hidden_total(head_sums::<L>(x)), head_len::<L>(x.len()))
}

/// Of how many elements [`head_of`] is the mean.
#[inline(always)]
pub(super) fn head_len<const L: usize>(len: usize) -> usize {
    len.div_ceil(4).next_multiple_of(L).min(len)
}

/// From the sum of the distances of `len` elements from the `first`.
#[inline(always)]
pub(super) fn head(first: f32, sum: f32, len: usize) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "a block's length is exact in f32")]
    let count = len as f32;
    first + sum / count
}

/// The sums of the distances from the first element, of those that [`head_of`] is the mean of.
#[inline(always)]
pub(super) fn head_sums<const L: usize>(x: &[f32]) -> [f32; L] {
    let x = &x[..head_len::<L>(x.len())];
    let first = x[0];
    let mut sums = [0.0; L];
    let (chunks, rest) = x.as_chunks();
    for chunk in chunks {
        add_distances(&mut sums, chunk, first);
    }
    if !rest.is_empty() {
        add_distances(&mut sums, &last_of(x, rest.len(), first), first);
    }
    sums
}

/// The sums of `x - head` and of its square. Meanwhile the memory of the `output` comes, if it is asked for.
#[inline(always)]
pub(super) fn sums_about<const L: usize>(x: &[f32], head: f32, output: Option<Ahead>) -> [[f32; L]; 2] {
    let (mut sums, mut squares) = ([0.0; L], [0.0; L]);
    let (chunks, rest) = x.as_chunks();
    const { assert!(STEP.is_multiple_of(L), "a step is whole chunks") };
    let step = if output.is_some() { STEP / L } else { chunks.len().max(1) };
    for (i, chunks) in chunks.chunks(step).enumerate() {
        if let Some(output) = output {
            output.skip(i * STEP).ask(STEP.min(x.len() - i * STEP));
        }
        for chunk in chunks {
            add_squares([&mut sums, &mut squares], chunk, head);
        }
    }
    if !rest.is_empty() {
        add_squares([&mut sums, &mut squares], &last_of(x, rest.len(), head), head);
    }
    [sums, squares]
}

#[inline(always)]
fn add_distances<const L: usize>(sums: &mut [f32; L], chunk: &[f32; L], head: f32) {
    for (sum, x) in sums.iter_mut().zip(chunk) {
        *sum += x - head;
    }
}

#[inline(always)]
fn add_squares<const L: usize>([sums, squares]: [&mut [f32; L]; 2], chunk: &[f32; L], head: f32) {
    for ((sum, square), x) in sums.iter_mut().zip(squares).zip(chunk) {
        let d = x - head;
        *sum += d;
        *square += d * d;
    }
}

/// The last `count` elements, which fill no chunk, and others that add nothing to sums about `head`. As many as a chunk
/// has are loaded at once: a copy of `count` of them would be a call.
#[inline(always)]
pub(super) fn last_of<const L: usize>(x: &[f32], count: usize, head: f32) -> [f32; L] {
    let Some(last) = x.last_chunk::<L>() else { return filled_up(x, head) };
    let mut chunk = *last;
    for (i, x) in chunk.iter_mut().enumerate() {
        *x = if i + count < L { head } else { *x };
    }
    chunk
}

/// Elements that fill no chunk, and others that add nothing to sums about `head`: sums that are indexed by anything but
/// constants would have to lie in memory.
#[inline(always)]
fn filled_up<const L: usize>(rest: &[f32], head: f32) -> [f32; L] {
    let mut chunk = [head; L];
    chunk[..rest.len()].copy_from_slice(rest);
    chunk
}

/// The sum of a power of two of lanes: a half is added to the other until one is left.
#[inline(always)]
pub(super) fn total<const L: usize>(lanes: [f32; L]) -> f32 {
    halved::<L>(lanes, 1)[0]
}

/// As [`total`]. The last lanes are hidden from the compiler, which would keep sums in pairs of lanes for their total, and
/// add two at a time where they are summed.
#[inline(always)]
fn hidden_total<const L: usize>(lanes: [f32; L]) -> f32 {
    let mut few = [0.0; FEW];
    few.copy_from_slice(&halved(lanes, FEW)[..FEW]);
    total(black_box(few))
}

/// Lanes of which a half is added to the other until `left` are left.
#[inline(always)]
pub(super) fn halved<const L: usize>(mut lanes: [f32; L], left: usize) -> [f32; L] {
    let mut half = L / 2;
    while half >= left {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes
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

    /// As [`apply`](Self::apply). Meanwhile what is read next comes, if it is asked for.
    #[inline(always)]
    pub(super) fn apply_ahead<T: Element, S: Simd>(
        &self,
        simd: S,
        x: &[f32],
        y: &mut [f32],
        scale: Scale,
        from: usize,
        next: Option<Ahead>,
    ) {
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
    pub(super) buffers: &'a mut Buffers,
}

impl<T: Element> WithSimd for ApplyRun<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Buffers { wide, results, past } = self.buffers;
        let past = past.as_ref();
        let mut done = 0;
        for to in self.output.chunks_mut(BLOCK) {
            let len = to.len();
            let input = self.input.map(|input| &input[done..done + len]);
            let next = self.next_by.map(|by| Ahead::of(input.unwrap_or(to)).skip(by));
            let x = block_of(input, to, wide);
            self.affine.apply_ahead::<T, S>(simd, x, T::target(to, results, past), self.scale, self.from + done, next);
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
    let mut done = 0;
    while done < x.len() {
        let parameter = (from + done) / divisor;
        let end = (divisor - (from + done) % divisor).min(x.len() - done) + done;
        let (weight, bias) = (weight[parameter], bias[parameter]);
        let ([slope, offset], keeps_digits) = fold((scale.tail, scale.rstd), weight, bias);
        let run = y[done..end].iter_mut().zip(&x[done..end]);
        if folds && keeps_digits {
            run.for_each(|(y, x)| *y = (x - scale.head) * slope + offset);
        } else {
            run.for_each(|(y, x)| *y = (x - scale.head - scale.tail) * scale.rstd * weight + bias);
        }
        done = end;
    }
}
