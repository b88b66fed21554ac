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
const _: () = assert!(crate::plan::BLOCK.is_multiple_of(CHUNK_ROWS), "pieces have whole chunks");

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
struct Cut {
    /// Elements of a row.
    row: usize,
    /// Columns of a tile: whole runs.
    tile: usize,
    /// Rows that are one piece, a power of two that divides a block: several where they are narrow.
    fold: usize,
}

impl Cut {
    /// Into tiles of at most so many columns.
    fn new(view: View, most: usize) -> Self {
        let row = view.c * view.d;
        let tile = (most / view.d * view.d).min(row);
        Self { row, tile, fold: (1 << (most / tile).ilog2()).min(BLOCK_ROWS) }
    }

    /// Pieces of `rows` rows.
    fn pieces(self, rows: usize) -> usize {
        rows.div_ceil(self.fold)
    }

    /// The tiles in columns up to `width`.
    fn tiles(self, width: usize) -> impl Iterator<Item = Range<usize>> {
        (0..width).step_by(self.tile).map(move |start| start..(start + self.tile).min(width))
    }

    /// Whether rows of a tile follow each other.
    fn has_whole_rows(self) -> bool {
        self.tile == self.row
    }

    /// Columns `tile` of so many rows from row `i` on, which are whole where they are several.
    fn rows_of<'p, T>(self, pieces: &'p Pieces<'_, T>, i: usize, rows: usize, tile: &Range<usize>) -> &'p [T] {
        let start = i % self.fold * self.row;
        pieces.get(i / self.fold, start + tile.start..start + (rows - 1) * self.row + tile.end)
    }

    /// Where the columns `tile` of piece `i` lie in it, of a stretch of `rows` rows.
    fn range(self, i: usize, rows: usize, tile: &Range<usize>) -> Range<usize> {
        if self.fold == 1 { tile.clone() } else { 0..self.row * self.fold.min(rows - i * self.fold) }
    }
}

/// Some rows of one slab, and some columns of them.
#[derive(Debug, Clone)]
struct Part {
    a: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Part {
    /// Columns `tile` of so many rows from row `i` on, in the whole tensor.
    fn some<'x, T>(
        &self,
        view: View,
        cut: Cut,
        data: &'x [T],
        (i, rows): (usize, usize),
        tile: &Range<usize>,
    ) -> &'x [T] {
        let start = (self.a * view.b + self.rows.start + i) * cut.row + self.columns.start;
        &data[start + tile.start..start + (rows - 1) * cut.row + tile.end]
    }

    /// Columns `tile` of piece `i`, in the whole tensor.
    fn piece<'x, T>(&self, view: View, cut: Cut, data: &'x [T], i: usize, tile: &Range<usize>) -> &'x [T] {
        let start = (self.a * view.b + self.rows.start + i * cut.fold) * cut.row + self.columns.start;
        let range = cut.range(i, self.rows.len(), tile);
        &data[start + range.start..start + range.end]
    }
}

fn one_pass<T: Element>(job: &Job<'_, T>, output: &mut [T], wanted: bool) -> Vec<Moments> {
    let (view, cut) = (job.view, Cut::new(job.view, TILE));
    let band = band_width(job, cut);
    let bands_a_slab = cut.row.div_ceil(band);
    let mut moments = vec![Moments::NONE; if wanted { view.statistics() } else { 0 }];
    let mut wanted_moments = moments.chunks_mut(view.c).flat_map(|slab| slab.chunks_mut(band / view.d));
    let tasks = band_pieces(output, view, cut, band).into_iter().enumerate().map(|(i, pieces)| {
        let start = i % bands_a_slab * band;
        let columns = start..(start + band).min(cut.row);
        (Part { a: i / bands_a_slab, rows: 0..view.b, columns }, pieces, wanted_moments.next())
    });
    parallel::each(job.threads, tasks, |(part, mut pieces, moments)| {
        normalize_band(job, cut, &part, &mut pieces, moments);
    });
    drop(wanted_moments);
    moments
}

/// Whole tiles, as wide as leaves every thread some bands.
fn band_width<T>(job: &Job<'_, T>, cut: Cut) -> usize {
    let tiles = cut.row.div_ceil(cut.tile);
    let bands = if job.threads == 1 { 1 } else { (4 * job.threads).div_ceil(job.view.a).min(tiles) };
    (tiles.div_ceil(bands) * cut.tile).min(cut.row)
}

fn band_pieces<T>(output: &mut [T], view: View, cut: Cut, band: usize) -> Vec<Pieces<'_, T>> {
    if band < cut.row {
        return pieces::bands(output, view.b, cut.row, band);
    }
    let stride = cut.row * cut.fold;
    output.chunks_mut(view.b * cut.row).map(|data| Pieces::Adjacent { data, stride }).collect()
}

fn normalize_band<T: Element>(
    job: &Job<'_, T>,
    cut: Cut,
    part: &Part,
    output: &mut Pieces<'_, T>,
    mut wanted: Option<&mut [Moments]>,
) {
    let d = job.view.d;
    let mut workspace = Workspace::new(cut.tile);
    let mut lanes = ColumnMoments::new(cut.tile);
    let mut painter = Painter::new(job, cut);
    for tile in cut.tiles(part.columns.len()) {
        lanes.clear(tile.len());
        for rows in cut_up(0..part.rows.len(), BLOCK_ROWS) {
            add_rows(job, cut, rows, &mut workspace, &mut lanes, |i, rows| match job.input {
                Some(input) => part.some(job.view, cut, input, (i, rows), &tile),
                None => cut.rows_of(output, i, rows, &tile),
            });
        }
        job.simd.dispatch(MergeRuns { moments: &mut lanes, d });
        if let Some(wanted) = &mut wanted {
            let own = &mut wanted[tile.start / d..tile.end / d];
            own.iter_mut().enumerate().for_each(|(i, moments)| *moments = lanes.get(i * d));
        }
        job.simd.dispatch(SetScales {
            moments: &lanes,
            statistic: job.statistic,
            eps: job.eps,
            coefficients: &mut painter.coefficients,
        });
        painter.apply(job, cut, part, &tile, output);
    }
}

/// Rows in pieces of so many, the last of what is left.
fn cut_up(rows: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    rows.clone().step_by(most).map(move |start| start..(start + most).min(rows.end))
}

/// Adds a block of rows to the moments of a tile's columns.
fn add_rows<'r, T: Element>(
    job: &Job<'_, T>,
    cut: Cut,
    rows: Range<usize>,
    workspace: &mut Workspace,
    moments: &mut ColumnMoments,
    some: impl Fn(usize, usize) -> &'r [T],
) {
    let (follow_each_other, centred) = (cut.has_whole_rows(), job.statistic.is_centred());
    job.simd.dispatch(AddRows { some, follow_each_other, rows, workspace, centred, moments });
}

/// The moments of every statistic, with its rows on as many threads as there are.
pub(super) fn all_moments<T: Element>(job: &Job<'_, T>, input: &[T]) -> Vec<Moments> {
    let (view, cut) = (job.view, Cut::new(job.view, WIDE_TILE));
    let chunks = view.b.div_ceil(CHUNK_ROWS);
    let mut parts = vec![Moments::NONE; view.a * chunks * view.c];
    let span = SPAN / cut.tile * cut.tile;
    // Narrow rows are taken some chunks at a time, wide ones a span at a time.
    let together = (TASK / (CHUNK_ROWS * cut.row)).max(1);
    let len = if together > 1 { together * view.c } else { span / view.d };
    let mut tasks = Vec::new();
    for (a, slab) in parts.chunks_mut(chunks * view.c).enumerate() {
        for (i, group) in slab.chunks_mut(together * view.c).enumerate() {
            let first = i * together * CHUNK_ROWS;
            let rows = first..(first + together * CHUNK_ROWS).min(view.b);
            for (j, moments) in group.chunks_mut(len).enumerate() {
                let columns = j * span..((j + 1) * span).min(cut.row);
                tasks.push((Part { a, rows: rows.clone(), columns }, moments));
            }
        }
    }
    parallel::each(job.threads, tasks, |(part, moments)| moments_of_part(job, cut, input, &part, moments));
    let of_statistic = |s: usize| {
        let own = parts[s / view.c * chunks * view.c + s % view.c..].iter().step_by(view.c).take(chunks);
        Moments::merge(own.copied())
    };
    (0..view.statistics()).map(of_statistic).collect()
}

/// The moments of a part's statistics, chunk by chunk, row after row as memory has them.
fn moments_of_part<T: Element>(job: &Job<'_, T>, cut: Cut, input: &[T], part: &Part, moments: &mut [Moments]) {
    let d = job.view.d;
    let mut workspace = Workspace::new(cut.tile);
    let mut tiles: Vec<(Range<usize>, ColumnMoments)> =
        cut.tiles(part.columns.len()).map(|tile| (tile.clone(), ColumnMoments::new(tile.len()))).collect();
    let chunks = cut_up(0..part.rows.len(), CHUNK_ROWS).zip(moments.chunks_mut(part.columns.len() / d));
    for (chunk, moments) in chunks {
        for rows in cut_up(chunk, BLOCK_ROWS) {
            for (tile, lanes) in &mut tiles {
                let some = |i, rows| part.some(job.view, cut, input, (i, rows), tile);
                add_rows(job, cut, rows.clone(), &mut workspace, lanes, some);
            }
        }
        for (tile, lanes) in &mut tiles {
            job.simd.dispatch(MergeRuns { moments: lanes, d });
            let own = &mut moments[tile.start / d..tile.end / d];
            own.iter_mut().enumerate().for_each(|(i, moments)| *moments = lanes.get(i * d));
            lanes.clear(tile.len());
        }
    }
}

/// Normalizes with given scales.
pub(super) fn apply<T: Element>(job: &Job<'_, T>, scales: &[Scale], output: &mut [T]) {
    let (view, cut) = (job.view, Cut::new(job.view, WIDE_TILE));
    let elements = (view.elements() / (4 * job.threads)).clamp(TASK, 8 * TASK);
    let mut parts =
        if view.b == 1 { parts_of_row(cut, elements, output) } else { parts_of_slabs(view, cut, elements, output) };
    // What was read last for moments is still in a cache.
    parts.reverse();
    parallel::each(job.threads, parts, |(part, data)| {
        let mut output = Pieces::Adjacent { data, stride: cut.row * cut.fold };
        let mut painter = Painter::new(job, cut);
        for tile in cut.tiles(part.columns.len()) {
            let first = part.a * view.c + part.columns.start / view.d;
            let own = first + tile.start / view.d..first + tile.end / view.d;
            painter.set_scales(view, tile.len(), &scales[own]);
            painter.apply(job, cut, &part, &tile, &mut output);
        }
    });
}

/// A single row in stretches of whole tiles, of about so many elements each.
fn parts_of_row<T>(cut: Cut, elements: usize, row: &mut [T]) -> Vec<(Part, &mut [T])> {
    let len = (elements / cut.tile).max(1) * cut.tile;
    let stretches = row.chunks_mut(len).enumerate();
    stretches.map(|(i, data)| (Part { a: 0, rows: 0..1, columns: i * len..i * len + data.len() }, data)).collect()
}

/// Whole rows of slabs, of about so many elements together.
fn parts_of_slabs<T>(view: View, cut: Cut, elements: usize, output: &mut [T]) -> Vec<(Part, &mut [T])> {
    let rows = (elements / cut.row).max(1).next_multiple_of(cut.fold);
    let mut parts = Vec::new();
    for (a, slab) in output.chunks_mut(view.b * cut.row).enumerate() {
        for (i, data) in slab.chunks_mut(rows * cut.row).enumerate() {
            let rows = i * rows..i * rows + data.len() / cut.row;
            parts.push((Part { a, rows, columns: 0..cut.row }, data));
        }
    }
    parts
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
    fn new<T: Element>(job: &Job<'_, T>, cut: Cut) -> Self {
        let len = cut.tile * cut.fold;
        Self {
            coefficients: Coefficients::new(len),
            columns: vec![0; cut.tile],
            found: 0,
            uniform: true,
            wide: vec![0.0; len],
            results: vec![0.0; len],
            past: job.past_caches(),
        }
    }

    /// Scales the part's columns `tile` by the scales that were set.
    fn apply<T: Element>(
        &mut self,
        job: &Job<'_, T>,
        cut: Cut,
        part: &Part,
        tile: &Range<usize>,
        output: &mut Pieces<'_, T>,
    ) {
        self.find_columns(job, part, tile);
        let pieces = cut.pieces(part.rows.len());
        let whole = part.rows.len() / cut.fold;
        let each_row = !job.parameters.are_those_of_many_rows();
        let mut start = 0;
        while start < pieces {
            // Pieces of different length or parameters are calls of their own.
            let end = if each_row || start == whole { start + 1 } else { whole };
            let range = cut.range(start, part.rows.len(), tile);
            let first_row = part.rows.start + start * cut.fold;
            let affine = self.set_parameters(job, part.a, first_row, range.len(), tile.len());
            job.simd.dispatch(ApplyTile {
                input: job.input.map(|input| move |i| part.piece(job.view, cut, input, i, tile)),
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

    fn find_columns<T>(&mut self, job: &Job<'_, T>, part: &Part, tile: &Range<usize>) {
        let (d, width) = (job.view.d, tile.len());
        if job.parameters.same_for_every_run() && self.found >= width {
            return;
        }
        let first = (part.columns.start + tile.start) / d;
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
