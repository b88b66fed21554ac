use super::element::Element;
use super::moments::{Moments, float, in_range, narrow};
use super::vectors::vectors_and_rest;
use crate::plan::moved_mean;
use pulp::{Scalar, Simd, WithSimd};
use std::ops::Range;

/// Rows of a column that are summed in f32 before f64 takes over.
pub(super) const BLOCK_ROWS: usize = 128;

/// Parts of equally many rows that a block is cut into. A row of each is added up pair by pair before they join a column's
/// sum, so that sums stay short and are seldom stored.
const PARTS: usize = 8;

/// Columns that fill a vector: where there are fewer, rows that follow each other are taken as one.
const NARROW: usize = 16;

/// Count, means and centred sums of squares of a tile's columns, which have equally many rows.
#[derive(Debug)]
pub(super) struct ColumnMoments {
    pub(super) count: f64,
    pub(super) means: Vec<f64>,
    pub(super) squares: Vec<f64>,
}

impl ColumnMoments {
    /// The moments of `width` columns without rows.
    pub(super) fn new(width: usize) -> Self {
        Self { count: 0.0, means: vec![0.0; width], squares: vec![0.0; width] }
    }

    /// Forgets all rows, for a tile of `width` columns.
    pub(super) fn clear(&mut self, width: usize) {
        self.count = 0.0;
        for values in [&mut self.means, &mut self.squares] {
            values.clear();
            values.resize(width, 0.0);
        }
    }

    /// The moments of every `d` neighbouring columns that have been [merged](MergeRuns).
    pub(super) fn hand_out(&self, d: usize, moments: &mut [Moments]) {
        let merged = self.means.iter().zip(&self.squares).step_by(d);
        for (moments, (&mean, &squares)) in moments.iter_mut().zip(merged) {
            *moments = Moments { count: self.count, mean, squares };
        }
    }

    /// Adds a block of `rows` rows (Chan et al.).
    #[inline(always)]
    fn join(&mut self, rows: f64, block_means: &[f64], block_squares: &[f64]) {
        let count = self.count + rows;
        let (share, weight) = (rows / count, self.count * rows / count);
        let own = self.means.iter_mut().zip(&mut self.squares);
        for (((mean, squares), block_mean), block_squares) in own.zip(block_means).zip(block_squares) {
            let delta = block_mean - *mean;
            *mean = moved_mean(*mean, *block_mean, share);
            *squares += block_squares + delta * delta * weight;
        }
        self.count = count;
    }
}

/// Merges every `d` neighbouring columns, which then all have the moments of them together.
#[derive(Debug)]
pub(super) struct MergeRuns<'a> {
    pub(super) moments: &'a mut ColumnMoments,
    pub(super) d: usize,
}

impl WithSimd for MergeRuns<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        if self.d == 1 {
            return;
        }
        let rows = self.moments.count;
        self.moments.count *= float(self.d);
        let runs = self.moments.means.chunks_exact_mut(self.d).zip(self.moments.squares.chunks_exact_mut(self.d));
        for (means, squares) in runs {
            let together = Moments::of_columns(rows, means, squares);
            means.fill(together.mean);
            squares.fill(together.squares);
        }
    }
}

/// Where a tile is summed.
#[derive(Debug)]
pub(super) struct Workspace {
    /// Rows in f32.
    wide: Vec<f32>,
    /// Distances of a block of narrow rows, and their squares.
    folded: [Vec<f32>; 2],
    heads: Vec<f32>,
    sums: Vec<f32>,
    squares: Vec<f32>,
    block_means: Vec<f64>,
    block_squares: Vec<f64>,
}

impl Workspace {
    /// Room for tiles of `width` columns.
    pub(super) fn new(width: usize) -> Self {
        let (sums, block) = (vec![0.0; width], vec![0.0; width]);
        let narrow = if width < NARROW { BLOCK_ROWS * width } else { 0 };
        Self {
            wide: vec![0.0; narrow.max(PARTS * width)],
            folded: std::array::from_fn(|_| vec![0.0; narrow]),
            heads: sums.clone(),
            sums: sums.clone(),
            squares: sums,
            block_means: block.clone(),
            block_squares: block,
        }
    }
}

/// Adds at most [`BLOCK_ROWS`] rows of a tile to the moments of its columns.
#[derive(Debug)]
pub(super) struct AddRows<'a, F> {
    /// Gives so many rows of the tile from row `i` on: more than one only where they follow each other.
    pub(super) some: F,
    pub(super) follow_each_other: bool,
    pub(super) rows: Range<usize>,
    pub(super) workspace: &'a mut Workspace,
    pub(super) centred: bool,
    pub(super) moments: &'a mut ColumnMoments,
}

impl<'r, T: Element, F: Fn(usize, usize) -> &'r [T]> WithSimd for AddRows<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { some, follow_each_other, rows, workspace, centred, moments } = self;
        let width = moments.means.len();
        let Workspace { wide, folded, heads, sums, squares, block_means, block_squares } = workspace;
        let (means, totals) = (&mut block_means[..width], &mut block_squares[..width]);
        let (heads, sums, squares) = (&mut heads[..width], &mut sums[..width], &mut squares[..width]);
        if rows.len() == 1 {
            T::widen(some(rows.start, 1), heads);
            take_row(heads, means, totals, centred);
            return moments.join(1.0, means, totals);
        }
        let together = follow_each_other && width < NARROW;
        let room = &mut (wide, folded);
        if !centred {
            heads.fill(0.0);
        } else if moments.count > 0.0 {
            // What rounding squares about the mean so far costs is less than what its distance adds to the variance.
            heads.iter_mut().zip(&moments.means).for_each(|(head, mean)| *head = narrow(*mean));
        } else {
            T::widen(some(rows.start, 1), heads);
            let quarter = rows.len().div_ceil(4);
            let first = rows.start..rows.start + quarter;
            sum_about(simd, (&some, together), first, room, heads, [sums, squares]);
            #[expect(clippy::cast_precision_loss, reason = "a block has few rows")]
            heads.iter_mut().zip(&*sums).for_each(|(head, sum)| *head += sum / quarter as f32);
        }
        sum_about(simd, (&some, together), rows.clone(), room, heads, [sums, squares]);
        let blocks = means.iter_mut().zip(&mut *totals);
        for ((((mean, total), head), sum), square) in blocks.zip(&*heads).zip(&*sums).zip(&*squares) {
            let block = Moments::about(*head, float(rows.len()), *sum, *square, centred);
            (*mean, *total) = (block.mean, block.squares);
        }
        if squares.iter().fold(false, |any, square| any | !in_range(*square)) {
            redo_in_f64(&some, rows.clone(), squares, means, totals, centred);
        }
        moments.join(float(rows.len()), means, totals);
    }
}

/// The sums of rows' distances from `heads`, and of the squares of these; the same whether rows are taken together or not.
#[inline(always)]
fn sum_about<'r, S: Simd, T: Element>(
    simd: S,
    (some, together): (&impl Fn(usize, usize) -> &'r [T], bool),
    rows: Range<usize>,
    (wide, folded): &mut (&mut Vec<f32>, &mut [Vec<f32>; 2]),
    heads: &[f32],
    [sums, squares]: [&mut [f32]; 2],
) {
    sums.fill(0.0);
    squares.fill(0.0);
    let part = rows.len().div_ceil(PARTS);
    if together {
        return fold_parts(T::read(some(rows.start, rows.len()), wide), part, folded, heads, [sums, squares]);
    }
    for first in rows.start..rows.start + part {
        // Rows that are not there add nothing.
        let mut eight = [heads; PARTS];
        for ((to, i), wide) in eight.iter_mut().zip((first..rows.end).step_by(part)).zip(wide.chunks_mut(heads.len())) {
            *to = T::read(some(i, 1), wide);
        }
        add_eight(simd, eight, heads, sums, squares);
    }
}

/// As [`add_eight`] of each row of a part, of narrow rows that follow each other: whole parts are added to one another.
#[inline(always)]
fn fold_parts(x: &[f32], part: usize, folded: &mut [Vec<f32>; 2], heads: &[f32], sums: [&mut [f32]; 2]) {
    let width = heads.len();
    let all = PARTS * part * width;
    let [distances, squares] = folded;
    let (distances, squares) = (&mut distances[..all], &mut squares[..all]);
    distances[x.len()..].fill(0.0);
    let mut repeated = [0.0; NARROW * NARROW];
    let repeated = &mut repeated[..NARROW * width];
    repeated.chunks_exact_mut(width).for_each(|row| row.copy_from_slice(heads));
    for (distances, x) in distances.chunks_mut(repeated.len()).zip(x.chunks(repeated.len())) {
        for ((distance, x), head) in distances.iter_mut().zip(x).zip(&*repeated) {
            *distance = x - head;
        }
    }
    for (square, distance) in squares.iter_mut().zip(&*distances) {
        *square = distance * distance;
    }
    for (values, sums) in [distances, squares].into_iter().zip(sums) {
        let mut half = all / 2;
        while half >= part * width {
            let (low, high) = values.split_at_mut(half);
            for (low, high) in low.iter_mut().zip(high) {
                *low += *high;
            }
            half /= 2;
        }
        for row in values[..part * width].chunks_exact(width) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
}

/// Adds eight rows' distances from `heads`, and the squares of these, to the sums of columns.
#[inline(always)]
fn add_eight<S: Simd>(simd: S, rows: [&[f32]; PARTS], heads: &[f32], sums: &mut [f32], squares: &mut [f32]) {
    let (rows, rows_rest) = vectors_and_rest::<S, PARTS>(rows, heads.len());
    let (heads, heads_rest) = S::as_simd_f32s(heads);
    let (sums, sums_rest) = S::as_mut_simd_f32s(sums);
    let (squares, squares_rest) = S::as_mut_simd_f32s(squares);
    add_vectors(simd, rows, heads, sums, squares);
    add_vectors(Scalar, rows_rest, heads_rest, sums_rest, squares_rest);
}

#[inline(always)]
fn add_vectors<S: Simd>(
    simd: S,
    rows: [&[S::f32s]; PARTS],
    heads: &[S::f32s],
    sums: &mut [S::f32s],
    squares: &mut [S::f32s],
) {
    for (j, ((head, sum), square)) in heads.iter().zip(sums).zip(squares).enumerate() {
        let (mut distances, mut of_squares) = ([*head; PARTS], [*head; PARTS]);
        for (k, row) in rows.iter().enumerate() {
            distances[k] = simd.sub_f32s(row[j], *head);
            of_squares[k] = simd.mul_f32s(distances[k], distances[k]);
        }
        *sum = simd.add_f32s(*sum, by_pairs(simd, distances));
        *square = simd.add_f32s(*square, by_pairs(simd, of_squares));
    }
}

/// The sum of eight, pair by pair.
#[inline(always)]
fn by_pairs<S: Simd>(simd: S, mut values: [S::f32s; PARTS]) -> S::f32s {
    let mut half = PARTS / 2;
    while half > 0 {
        for k in 0..half {
            values[k] = simd.add_f32s(values[k], values[k + half]);
        }
        half /= 2;
    }
    values[0]
}

/// The moments of columns of one row.
#[inline(always)]
fn take_row(row: &[f32], means: &mut [f64], totals: &mut [f64], centred: bool) {
    for ((mean, total), x) in means.iter_mut().zip(totals).zip(row) {
        let x = f64::from(*x);
        // No square, but for an infinity or NaN, of which there is none.
        (*mean, *total) = if centred { (x, 0.0 * x.abs()) } else { (0.0, x * x) };
    }
}

#[cold]
#[inline(never)]
fn redo_in_f64<'r, T: Element>(
    some: &impl Fn(usize, usize) -> &'r [T],
    rows: Range<usize>,
    squares: &[f32],
    means: &mut [f64],
    totals: &mut [f64],
    centred: bool,
) {
    let element = |row: &[T], column: usize| {
        let mut one = [0.0];
        T::widen(&row[column..=column], &mut one);
        one[0]
    };
    let columns = squares.iter().enumerate().filter(|(_, square)| !in_range(**square));
    for (column, _) in columns {
        let block = Moments::in_f64(rows.clone().map(|i| element(some(i, 1), column)), centred);
        (means[column], totals[column]) = (block.mean, block.squares);
    }
}
