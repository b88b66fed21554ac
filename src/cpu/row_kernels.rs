use super::ahead::{Ahead, STEP};
use super::element::Element;
use super::moments::{Moments, float, in_range, narrow};
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
