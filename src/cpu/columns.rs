//! Statistics whose runs of `d` are short: lanes lie across the contiguous `c * d` columns, blocks
//! along `b`. A statistic is `d` neighbouring columns.

use super::Job;
use super::element::Element;
use super::moments::{Moments, Scale};
use super::parallel::{self, TASK};
use super::past_caches::PastCaches;
use super::pieces::{self, Pieces};
use super::tile_apply::{AffineBy, ApplyTile, Coefficients, Fold, SetScales};
use super::tile_kernels::{AddRows, BLOCK_ROWS, ColumnMoments, MergeRuns, Workspace};
use crate::plan::View;
use std::ops::Range;

/// Rows that one task sums up; it fixes the order of merging, so it depends on nothing. A tile of as many stays in a
/// processor's second cache.
const CHUNK_ROWS: usize = 4 * BLOCK_ROWS;
#[cfg(not(target_family = "wasm"))]
const _: () = assert!(crate::plan::PIECE_BLOCK.is_multiple_of(CHUNK_ROWS), "pieces have whole chunks");

/// Columns of a tile that is to stay in a cache.
const TILE: usize = 256;

/// Columns of a tile that is read once: as many as a page of memory, beyond which no prefetcher looks.
const WIDE_TILE: usize = 1024;

/// Columns of a task's rows at most, so that few long rows are more than one task.
const SPAN: usize = 4 * WIDE_TILE;

/// Runs up to this long are taken as columns; a tile holds at least one.
const LONGEST_RUN: usize = 64;

/// The same where there is one row, so that every statistic is a run.
const LONGEST_SINGLE_RUN: usize = 32;

/// Whether moments are better taken by columns. It decides the order of sums, so it sees `b` and `d` only.
pub(super) fn suit(view: View) -> bool {
    view.d <= if view.b == 1 { LONGEST_SINGLE_RUN } else { LONGEST_RUN }
}

/// The view with slabs of one row laid side by side, which leaves elements and statistics where they are.
pub(super) fn widened(view: View) -> View {
    if view.b == 1 { View::new(1, 1, view.a * view.c, view.d) } else { view }
}

/// Normalizes with the input's own statistics, and returns them where they are wanted.
pub(super) fn normalize<T: Element>(job: &Job<'_, T>, output: &mut [T], wanted: bool) -> Vec<Moments> {
    if job.view.b <= CHUNK_ROWS {
        return one_pass(job, output, wanted);
    }
    let moments = all_moments(job, job.input.unwrap_or(output));
    let scales: Vec<Scale> = moments.iter().map(|&m| Scale::of(m, job.statistic, job.eps)).collect();
    apply(job, &scales, output);
    moments
}

/// How rows are cut.
#[derive(Debug, Clone, Copy)]
struct Tiling {
    /// Elements of a row.
    row: usize,
    /// Columns of a tile: whole runs.
    tile: usize,
    /// Rows that are one piece, a power of two that divides a block: several where they are narrow, and then tiles are whole
    /// rows.
    rows_a_piece: usize,
}

impl Tiling {
    /// Into tiles of at most so many columns.
    fn new(view: View, most: usize) -> Self {
        let row = view.c * view.d;
        let tile = (most / view.d * view.d).min(row);
        let rows_a_piece = (1 << (most / tile).ilog2()).min(BLOCK_ROWS);
        debug_assert!(rows_a_piece == 1 || tile == row, "a tile that is less than a row is more than half of the most");
        Self { row, tile, rows_a_piece }
    }

    /// Pieces of `rows` rows.
    fn pieces(self, rows: usize) -> usize {
        rows.div_ceil(self.rows_a_piece)
    }

    /// The tiles in columns up to `width`.
    fn tiles(self, width: usize) -> impl Iterator<Item = Range<usize>> {
        (0..width).step_by(self.tile).map(move |start| start..(start + self.tile).min(width))
    }

    /// Whether rows of a tile follow each other.
    fn has_whole_rows(self) -> bool {
        self.tile == self.row
    }

    /// Columns `tile` of so many rows from row `i` on, which are whole where they are several. They may go on beyond a piece
    /// into the next: pieces of several rows follow each other.
    fn rows_of<'p, T>(self, pieces: &'p Pieces<'_, T>, i: usize, rows: usize, tile: &Range<usize>) -> &'p [T] {
        let start = i % self.rows_a_piece * self.row;
        pieces.get(i / self.rows_a_piece, start + tile.start..start + (rows - 1) * self.row + tile.end)
    }

    /// Where the columns `tile` of piece `i` lie in it, of a stretch of `rows` rows.
    fn range(self, i: usize, rows: usize, tile: &Range<usize>) -> Range<usize> {
        if self.rows_a_piece == 1 {
            tile.clone()
        } else {
            0..self.row * self.rows_a_piece.min(rows - i * self.rows_a_piece)
        }
    }
}

/// Some rows of one slab, and some columns of them.
#[derive(Debug, Clone)]
struct Stretch {
    a: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Stretch {
    /// Columns `tile` of so many rows from row `i` on, in the whole tensor.
    fn some<'x, T>(
        &self,
        view: View,
        tiling: Tiling,
        data: &'x [T],
        (i, rows): (usize, usize),
        tile: &Range<usize>,
    ) -> &'x [T] {
        let start = (self.a * view.b + self.rows.start + i) * tiling.row + self.columns.start;
        &data[start + tile.start..start + (rows - 1) * tiling.row + tile.end]
    }

    /// Columns `tile` of piece `i`, in the whole tensor.
    fn piece<'x, T>(&self, view: View, tiling: Tiling, data: &'x [T], i: usize, tile: &Range<usize>) -> &'x [T] {
        let start = (self.a * view.b + self.rows.start + i * tiling.rows_a_piece) * tiling.row + self.columns.start;
        let range = tiling.range(i, self.rows.len(), tile);
        &data[start + range.start..start + range.end]
    }
}

fn one_pass<T: Element>(job: &Job<'_, T>, output: &mut [T], wanted: bool) -> Vec<Moments> {
    let (view, tiling) = (job.view, Tiling::new(job.view, TILE));
    let band = band_width(job, tiling);
    let bands_a_slab = tiling.row.div_ceil(band);
    let mut moments = vec![Moments::NONE; if wanted { view.statistics() } else { 0 }];
    let mut wanted_moments = moments.chunks_mut(view.c).flat_map(|slab| slab.chunks_mut(band / view.d));
    let tasks = band_pieces(output, view, tiling, band).into_iter().enumerate().map(|(i, pieces)| {
        let start = i % bands_a_slab * band;
        let columns = start..(start + band).min(tiling.row);
        (Stretch { a: i / bands_a_slab, rows: 0..view.b, columns }, pieces, wanted_moments.next())
    });
    parallel::each(job.threads, tasks, |(stretch, mut pieces, moments)| {
        normalize_band(job, tiling, &stretch, &mut pieces, moments);
    });
    drop(wanted_moments);
    moments
}

/// Whole tiles, as wide as leaves every thread some bands.
fn band_width<T>(job: &Job<'_, T>, tiling: Tiling) -> usize {
    let tiles = tiling.row.div_ceil(tiling.tile);
    let bands = if job.threads == 1 { 1 } else { (4 * job.threads).div_ceil(job.view.a).min(tiles) };
    (tiles.div_ceil(bands) * tiling.tile).min(tiling.row)
}

fn band_pieces<T>(output: &mut [T], view: View, tiling: Tiling, band: usize) -> Vec<Pieces<'_, T>> {
    if band < tiling.row {
        return pieces::bands(output, view.b, tiling.row, band);
    }
    let stride = tiling.row * tiling.rows_a_piece;
    output.chunks_mut(view.b * tiling.row).map(|data| Pieces::Adjacent { data, stride }).collect()
}

fn normalize_band<T: Element>(
    job: &Job<'_, T>,
    tiling: Tiling,
    stretch: &Stretch,
    output: &mut Pieces<'_, T>,
    mut wanted: Option<&mut [Moments]>,
) {
    let d = job.view.d;
    let mut workspace = Workspace::new(tiling.tile);
    let mut lanes = ColumnMoments::new(tiling.tile);
    let mut painter = Painter::new(job, tiling);
    for tile in tiling.tiles(stretch.columns.len()) {
        lanes.clear(tile.len());
        for rows in cut_up(0..stretch.rows.len(), BLOCK_ROWS) {
            add_rows(job, tiling, rows, &mut workspace, &mut lanes, |i, rows| match job.input {
                Some(input) => stretch.some(job.view, tiling, input, (i, rows), &tile),
                None => tiling.rows_of(output, i, rows, &tile),
            });
        }
        job.simd.dispatch(MergeRuns { moments: &mut lanes, d });
        if let Some(wanted) = &mut wanted {
            lanes.hand_out(d, &mut wanted[tile.start / d..tile.end / d]);
        }
        job.simd.dispatch(SetScales {
            moments: &lanes,
            statistic: job.statistic,
            eps: job.eps,
            coefficients: &mut painter.coefficients,
        });
        painter.apply(job, tiling, stretch, &tile, output);
    }
}

/// Rows in pieces of so many, the last of what is left.
fn cut_up(rows: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    rows.clone().step_by(most).map(move |start| start..(start + most).min(rows.end))
}

/// Adds a block of rows to the moments of a tile's columns.
fn add_rows<'r, T: Element>(
    job: &Job<'_, T>,
    tiling: Tiling,
    rows: Range<usize>,
    workspace: &mut Workspace,
    moments: &mut ColumnMoments,
    some: impl Fn(usize, usize) -> &'r [T],
) {
    let (follow_each_other, centred) = (tiling.has_whole_rows(), job.statistic.is_centred());
    job.simd.dispatch(AddRows { some, follow_each_other, rows, workspace, centred, moments });
}

/// The moments of every statistic, with its rows on as many threads as there are.
pub(super) fn all_moments<T: Element>(job: &Job<'_, T>, input: &[T]) -> Vec<Moments> {
    let (view, tiling) = (job.view, Tiling::new(job.view, WIDE_TILE));
    let chunks = view.b.div_ceil(CHUNK_ROWS);
    let mut parts = vec![Moments::NONE; view.a * chunks * view.c];
    let span = SPAN / tiling.tile * tiling.tile;
    // Narrow rows are taken some chunks at a time, wide ones a span at a time.
    let together = (TASK / (CHUNK_ROWS * tiling.row)).max(1);
    let len = if together > 1 { together * view.c } else { span / view.d };
    let mut tasks = Vec::new();
    for (a, slab) in parts.chunks_mut(chunks * view.c).enumerate() {
        for (i, group) in slab.chunks_mut(together * view.c).enumerate() {
            let first = i * together * CHUNK_ROWS;
            let rows = first..(first + together * CHUNK_ROWS).min(view.b);
            for (j, moments) in group.chunks_mut(len).enumerate() {
                let columns = j * span..((j + 1) * span).min(tiling.row);
                tasks.push((Stretch { a, rows: rows.clone(), columns }, moments));
            }
        }
    }
    parallel::each(job.threads, tasks, |(stretch, moments)| moments_of_stretch(job, tiling, input, &stretch, moments));
    let of_statistic = |s: usize| {
        let own = parts[s / view.c * chunks * view.c + s % view.c..].iter().step_by(view.c).take(chunks);
        Moments::merge(own.copied())
    };
    (0..view.statistics()).map(of_statistic).collect()
}

/// The moments of a stretch's statistics, chunk by chunk, row after row as memory has them.
fn moments_of_stretch<T: Element>(
    job: &Job<'_, T>,
    tiling: Tiling,
    input: &[T],
    stretch: &Stretch,
    moments: &mut [Moments],
) {
    let d = job.view.d;
    let mut workspace = Workspace::new(tiling.tile);
    let mut tiles: Vec<(Range<usize>, ColumnMoments)> =
        tiling.tiles(stretch.columns.len()).map(|tile| (tile.clone(), ColumnMoments::new(tile.len()))).collect();
    let chunks = cut_up(0..stretch.rows.len(), CHUNK_ROWS).zip(moments.chunks_mut(stretch.columns.len() / d));
    for (chunk, moments) in chunks {
        for rows in cut_up(chunk, BLOCK_ROWS) {
            for (tile, lanes) in &mut tiles {
                let some = |i, rows| stretch.some(job.view, tiling, input, (i, rows), tile);
                add_rows(job, tiling, rows.clone(), &mut workspace, lanes, some);
            }
        }
        for (tile, lanes) in &mut tiles {
            job.simd.dispatch(MergeRuns { moments: lanes, d });
            lanes.hand_out(d, &mut moments[tile.start / d..tile.end / d]);
            lanes.clear(tile.len());
        }
    }
}

/// Normalizes with given scales.
pub(super) fn apply<T: Element>(job: &Job<'_, T>, scales: &[Scale], output: &mut [T]) {
    let (view, tiling) = (job.view, Tiling::new(job.view, WIDE_TILE));
    let elements = (view.elements() / (4 * job.threads)).clamp(TASK, 8 * TASK);
    let mut stretches = if view.b == 1 {
        stretches_of_row(tiling, elements, output)
    } else {
        stretches_of_slabs(view, tiling, elements, output)
    };
    // What was read last for moments is still in a cache.
    stretches.reverse();
    parallel::each(job.threads, stretches, |(stretch, data)| {
        let mut output = Pieces::Adjacent { data, stride: tiling.row * tiling.rows_a_piece };
        let mut painter = Painter::new(job, tiling);
        for tile in tiling.tiles(stretch.columns.len()) {
            let first = stretch.a * view.c + stretch.columns.start / view.d;
            let own = first + tile.start / view.d..first + tile.end / view.d;
            painter.set_scales(view, tile.len(), &scales[own]);
            painter.apply(job, tiling, &stretch, &tile, &mut output);
        }
    });
}

/// A single row in stretches of whole tiles, of about so many elements each.
fn stretches_of_row<T>(tiling: Tiling, elements: usize, row: &mut [T]) -> Vec<(Stretch, &mut [T])> {
    let len = (elements / tiling.tile).max(1) * tiling.tile;
    let stretches = row.chunks_mut(len).enumerate();
    stretches.map(|(i, data)| (Stretch { a: 0, rows: 0..1, columns: i * len..i * len + data.len() }, data)).collect()
}

/// Whole rows of slabs, of about so many elements together.
fn stretches_of_slabs<T>(view: View, tiling: Tiling, elements: usize, output: &mut [T]) -> Vec<(Stretch, &mut [T])> {
    let rows = (elements / tiling.row).max(1).next_multiple_of(tiling.rows_a_piece);
    let mut stretches = Vec::new();
    for (a, slab) in output.chunks_mut(view.b * tiling.row).enumerate() {
        for (i, data) in slab.chunks_mut(rows * tiling.row).enumerate() {
            let rows = i * rows..i * rows + data.len() / tiling.row;
            stretches.push((Stretch { a, rows, columns: 0..tiling.row }, data));
        }
    }
    stretches
}

/// What applying a tile needs room for.
#[derive(Debug)]
struct Painter {
    coefficients: Coefficients,
    /// The parameter of each column, but for what slab and row add.
    columns: Vec<usize>,
    /// How many of them are known.
    found: usize,
    /// Whether all columns have the same parameter.
    uniform: bool,
    wide: Vec<f32>,
    results: Vec<f32>,
    past: Option<PastCaches>,
}

impl Painter {
    fn new<T: Element>(job: &Job<'_, T>, tiling: Tiling) -> Self {
        let len = tiling.tile * tiling.rows_a_piece;
        Self {
            coefficients: Coefficients::new(len),
            columns: vec![0; tiling.tile],
            found: 0,
            uniform: true,
            wide: vec![0.0; len],
            results: vec![0.0; len],
            past: job.past_caches(),
        }
    }

    /// Scales the stretch's columns `tile` by the scales that were set.
    fn apply<T: Element>(
        &mut self,
        job: &Job<'_, T>,
        tiling: Tiling,
        stretch: &Stretch,
        tile: &Range<usize>,
        output: &mut Pieces<'_, T>,
    ) {
        self.find_columns(job, stretch, tile);
        let pieces = tiling.pieces(stretch.rows.len());
        let whole = stretch.rows.len() / tiling.rows_a_piece;
        let each_row = !job.parameters.are_those_of_many_rows();
        let mut start = 0;
        while start < pieces {
            // Pieces of different length or parameters are calls of their own.
            let end = if each_row || start == whole { start + 1 } else { whole };
            let range = tiling.range(start, stretch.rows.len(), tile);
            let first_row = stretch.rows.start + start * tiling.rows_a_piece;
            let affine = self.set_parameters(job, stretch.a, first_row, range.len(), tile.len());
            job.simd.dispatch(ApplyTile {
                input: job.input.map(|input| move |i| stretch.piece(job.view, tiling, input, i, tile)),
                output,
                pieces: start..end,
                range,
                coefficients: &self.coefficients,
                affine,
                clips: job.parameters.tau.is_some(),
                epilogue: job.epilogue,
                wide: &mut self.wide,
                results: &mut self.results,
                past: self.past.as_ref(),
            });
            start = end;
        }
    }

    fn set_scales(&mut self, view: View, width: usize, scales: &[Scale]) {
        let Coefficients { head, tail, rstd, .. } = &mut self.coefficients;
        for (run, scale) in scales.iter().enumerate() {
            let columns = run * view.d..(run + 1) * view.d;
            for column in columns {
                (head[column], tail[column], rstd[column]) = (scale.head, scale.tail, scale.rstd);
            }
        }
        self.coefficients.repeat(width);
    }

    fn find_columns<T>(&mut self, job: &Job<'_, T>, stretch: &Stretch, tile: &Range<usize>) {
        let (d, width) = (job.view.d, tile.len());
        if job.parameters.same_for_every_run() && self.found >= width {
            return;
        }
        let first = (stretch.columns.start + tile.start) / d;
        for (run, columns) in (first..).zip(self.columns[..width].chunks_mut(d)) {
            let parameter = job.parameters.index(0, 0, run);
            for (i, column) in columns.iter_mut().enumerate() {
                *column = parameter + i / job.parameters.map.d_divisor;
            }
        }
        self.found = width;
        let columns = &self.columns[..width];
        self.uniform = columns.iter().all(|c| *c == columns[0]);
    }

    /// Sets what elements of a piece of `len` meet; `first_row` is its first row.
    fn set_parameters<T>(
        &mut self,
        job: &Job<'_, T>,
        a: usize,
        first_row: usize,
        len: usize,
        width: usize,
    ) -> AffineBy {
        let parameters = &job.parameters;
        let Coefficients { weight, bias, tau, .. } = &mut self.coefficients;
        if let Some(own) = &parameters.tau {
            for (row, tau) in (first_row..).zip(tau[..len].chunks_mut(width)) {
                let first = parameters.index(a, row, 0);
                tau.iter_mut().zip(&self.columns).for_each(|(tau, column)| *tau = own[first + column]);
            }
        }
        let each_row = !parameters.are_those_of_many_rows();
        if each_row && self.uniform && len == width {
            let parameter = parameters.index(a, first_row, 0) + self.columns[0];
            return AffineBy::Shared([parameters.weight[parameter], parameters.bias[parameter]]);
        }
        let rows = weight[..len].chunks_mut(width).zip(bias[..len].chunks_mut(width));
        for (row, (weight, bias)) in (first_row..).zip(rows) {
            let first = parameters.index(a, row, 0);
            if self.uniform {
                weight.fill(parameters.weight[first + self.columns[0]]);
                bias.fill(parameters.bias[first + self.columns[0]]);
                continue;
            }
            for ((weight, bias), column) in weight.iter_mut().zip(bias).zip(&self.columns) {
                *weight = parameters.weight[first + column];
                *bias = parameters.bias[first + column];
            }
        }
        // Of given statistics as rows do: how many rows there are decides which way they go.
        let has_own = job.given && job.view.d > 1 && job.parameters.map.d_divisor == 1;
        if each_row || has_own || job.epilogue.rounds {
            return AffineBy::Each;
        }
        job.simd.dispatch(Fold { coefficients: &mut self.coefficients, len });
        AffineBy::Folded
    }
}
