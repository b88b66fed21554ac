//! Gradients column by column, tile by tile: over some rows of a tile sums are kept in f32; then f64 takes over, group by
//! group and parameter by parameter.

use super::element::Element;
use super::gradient::{BLOCK_ROWS, Found, Job};
use super::gradient_groups::Through;
use super::gradient_kernels::{AddRow, TILE, Workspace, WriteRow, total};
use super::moments::Scale;
use super::parameters::Parameters;
use std::ops::Range;

/// Rows whose parameters' sums are in the workspace: their first parameter, and how many they are.
#[derive(Debug, Clone, Copy)]
struct Summed {
    base: Option<usize>,
    rows: usize,
}

impl<T: Element> Job<'_, T> {
    /// Adds rows of some steps of `a` up.
    pub(super) fn sum_tiles(
        &self,
        steps: Range<usize>,
        rows: &Range<usize>,
        columns: Range<usize>,
        w: &mut Workspace,
        found: &mut Found,
    ) {
        for start in (columns.start..columns.end).step_by(TILE) {
            let tile = start..(start + TILE).min(columns.end);
            w.clear(tile.len());
            if self.by_plain_columns() {
                steps.clone().for_each(|a| self.sum_plain_columns(a, rows, &tile, w, found));
                continue;
            }
            if self.by_uniform_rows() {
                steps.clone().for_each(|a| self.sum_uniform_rows(a, rows, &tile, w, found));
                continue;
            }
            let mut summed = Summed { base: None, rows: 0 };
            for a in steps.clone() {
                self.set_scales(a, &tile, w);
                for first in rows.clone().step_by(BLOCK_ROWS) {
                    for b in first..(first + BLOCK_ROWS).min(rows.end) {
                        self.turn_to(a, b, &tile, &mut summed, w, found);
                        self.add(a, b, &tile, w);
                    }
                    if self.groups.through {
                        self.flush_groups(a, &tile, w, found);
                    }
                }
            }
            self.flush_parameters(&tile, summed, w, found);
        }
    }

    /// The gradient of whole rows from row `first` on: what neighbouring rows share is set up once.
    pub(super) fn write_tiles(
        &self,
        first: usize,
        output: &mut [T],
        through: &impl Fn(usize) -> Through,
        w: &mut Workspace,
    ) {
        for start in (0..self.row()).step_by(TILE) {
            let tile = start..(start + TILE).min(self.row());
            if self.folds_columns() {
                self.write_plain_columns(first, &tile, output, through, w);
                continue;
            }
            let (mut last_a, mut last_base) = (None, None);
            for (i, output) in output.chunks_mut(self.row()).enumerate() {
                let (a, b) = ((first + i) / self.view.b, (first + i) % self.view.b);
                if last_a.replace(a) != Some(a) {
                    self.set_scales(a, &tile, w);
                    self.set_through(a, &tile, through, w);
                }
                if last_base.replace(self.base(a, b)) != Some(self.base(a, b)) {
                    self.set_parameters(a, b, &tile, w);
                }
                self.write_tile(a, b, &tile, &mut output[tile.clone()], w);
            }
        }
    }

    /// The gradient of some columns of a row, from column `first` on.
    pub(super) fn write_columns(
        &self,
        a: usize,
        b: usize,
        first: usize,
        output: &mut [T],
        through: &impl Fn(usize) -> Through,
        w: &mut Workspace,
    ) {
        for (i, output) in output.chunks_mut(TILE).enumerate() {
            let start = first + i * TILE;
            let tile = start..start + output.len();
            if self.folds_columns() {
                self.write_plain_rows((a * self.view.b + b, 1), &tile, output, through, w);
                continue;
            }
            self.set_scales(a, &tile, w);
            self.set_parameters(a, b, &tile, w);
            self.set_through(a, &tile, through, w);
            self.write_tile(a, b, &tile, output, w);
        }
    }

    pub(super) fn add(&self, a: usize, b: usize, tile: &Range<usize>, w: &mut Workspace) {
        self.simd.dispatch(AddRow {
            x: self.elements(self.x, a, b, tile),
            upstream: self.elements(self.upstream, a, b, tile),
            workspace: w,
            epilogue: self.epilogue,
            parameters: self.wants_parameters,
        });
    }

    /// Makes the parameters those of row `b`; sums of others, or of as many rows as f32 adds up, are handed on.
    fn turn_to(
        &self,
        a: usize,
        b: usize,
        tile: &Range<usize>,
        summed: &mut Summed,
        w: &mut Workspace,
        found: &mut Found,
    ) {
        let base = Some(self.base(a, b));
        if summed.base != base || summed.rows == BLOCK_ROWS {
            self.flush_parameters(tile, *summed, w, found);
            summed.rows = 0;
        }
        if summed.base != base {
            self.set_parameters(a, b, tile, w);
            summed.base = base;
        }
        summed.rows += 1;
    }

    /// The gradient of some columns of a row, with what belongs to them in the workspace.
    fn write_tile(&self, a: usize, b: usize, tile: &Range<usize>, output: &mut [T], w: &mut Workspace) {
        self.simd.dispatch(WriteRow {
            x: self.elements(self.x, a, b, tile),
            upstream: self.elements(self.upstream, a, b, tile),
            inflow: self.inflow.map(|inflow| self.elements(inflow, a, b, tile)),
            output,
            through: self.groups.through,
            workspace: w,
            epilogue: self.epilogue,
        });
    }

    /// Calls `f` with the range in the tile and the number of each run of columns that share a statistic.
    fn each_group(&self, a: usize, tile: &Range<usize>, mut f: impl FnMut(Range<usize>, usize)) {
        let d = self.view.d;
        if d == 1 {
            return tile.clone().enumerate().for_each(|(i, column)| f(i..i + 1, a * self.view.c + column));
        }
        let mut column = tile.start;
        while column < tile.end {
            let end = self.end_of_run(column, d).min(tile.end);
            f(column - tile.start..end - tile.start, a * self.view.c + column / d);
            column = end;
        }
    }

    /// The same for each run that shares a parameter, of rows whose first has parameter `base`.
    fn each_parameter(&self, base: usize, tile: &Range<usize>, mut f: impl FnMut(Range<usize>, usize)) {
        let map = self.parameters.map;
        let (d, divisor) = (self.view.d, map.d_divisor);
        if map.c_scale == 0 && divisor >= d {
            return f(0..tile.len(), base + map.index(0, 0, 0, 0));
        }
        if d == 1 {
            return tile.clone().enumerate().for_each(|(i, column)| f(i..i + 1, base + column * map.c_scale));
        }
        let mut column = tile.start;
        while column < tile.end {
            let end = self.end_of_run(column, divisor.min(d)).min(tile.end);
            f(column - tile.start..end - tile.start, base + map.index(0, 0, column / d, column % d));
            column = end;
        }
    }

    pub(super) fn set_scales(&self, a: usize, tile: &Range<usize>, w: &mut Workspace) {
        if self.view.d == 1 {
            let statistics = a * self.view.c + tile.start..;
            let coefficients = w.head.iter_mut().zip(&mut w.tail).zip(&mut w.rstd);
            for (((head, tail), rstd), statistic) in coefficients.zip(statistics).take(tile.len()) {
                Scale { head: *head, tail: *tail, rstd: *rstd } = self.groups.scale(statistic);
            }
            return;
        }
        self.each_group(a, tile, |columns, statistic| {
            let Scale { head, tail, rstd } = self.groups.scale(statistic);
            w.head[columns.clone()].fill(head);
            w.tail[columns.clone()].fill(tail);
            w.rstd[columns].fill(rstd);
        });
    }

    /// Whether columns that lie side by side have parameters that do.
    fn has_neighbours(&self) -> bool {
        self.has_one_each() || self.view.d == 1 && self.parameters.map.c_scale == 1
    }

    pub(super) fn set_parameters(&self, a: usize, b: usize, tile: &Range<usize>, w: &mut Workspace) {
        let Parameters { weight, bias, tau, .. } = &self.parameters;
        let first = self.base(a, b);
        if self.has_neighbours() {
            let parameters = first + tile.start..first + tile.end;
            w.weight[..tile.len()].copy_from_slice(&weight[parameters.clone()]);
            w.bias[..tile.len()].copy_from_slice(&bias[parameters]);
        } else {
            self.each_parameter(first, tile, |columns, p| {
                w.weight[columns.clone()].fill(weight[p]);
                w.bias[columns].fill(bias[p]);
            });
        }
        w.clips = tau.is_some();
        if let Some(tau) = tau {
            self.each_parameter(first, tile, |columns, p| w.tau[columns].fill(tau[p]));
        }
    }

    pub(super) fn set_through(
        &self,
        a: usize,
        tile: &Range<usize>,
        through: &impl Fn(usize) -> Through,
        w: &mut Workspace,
    ) {
        if self.view.d == 1 {
            let first = a * self.view.c + tile.start;
            for (i, (mean, variance)) in
                w.through_mean.iter_mut().zip(&mut w.through_variance).take(tile.len()).enumerate()
            {
                [*mean, *variance] = through(first + i);
            }
            return;
        }
        self.each_group(a, tile, |columns, statistic| {
            let [mean, variance] = through(statistic);
            w.through_mean[columns.clone()].fill(mean);
            w.through_variance[columns].fill(variance);
        });
    }

    pub(super) fn flush_groups(&self, a: usize, tile: &Range<usize>, w: &mut Workspace, found: &mut Found) {
        if self.view.d == 1 && !self.learns_eps {
            let first = a * self.view.c + tile.start;
            found.groups.add_run(first, &w.products[..tile.len()], &w.gradients[..tile.len()]);
        } else {
            self.add_groups(a, tile, w, found);
        }
        w.products[..tile.len()].fill(0.0);
        w.gradients[..tile.len()].fill(0.0);
    }

    fn add_groups(&self, a: usize, tile: &Range<usize>, w: &Workspace, found: &mut Found) {
        self.each_group(a, tile, |columns, statistic| {
            let pair = [total(&w.products[columns.clone()]), total(&w.gradients[columns])];
            found.add_to_group(statistic, pair, self.groups.rstd(statistic));
        });
    }

    /// Hands the sums of parameters on.
    fn flush_parameters(&self, tile: &Range<usize>, summed: Summed, w: &mut Workspace, found: &mut Found) {
        if let Some(base) = summed.base {
            self.flush_columns(base, tile, w, found);
        }
    }

    /// Hands the sums of columns on to the parameters, of which the first column's row begins with `base`.
    pub(super) fn flush_columns(&self, base: usize, tile: &Range<usize>, w: &mut Workspace, found: &mut Found) {
        if self.wants_parameters {
            self.add_columns(base, tile, w, found);
        }
        for sums in [&mut w.of_weight, &mut w.of_bias, &mut w.of_tau] {
            sums[..tile.len()].fill(0.0);
        }
    }

    fn add_columns(&self, base: usize, tile: &Range<usize>, w: &Workspace, found: &mut Found) {
        if self.has_neighbours() {
            found.parameters.add_run(base + tile.start, &w.of_weight[..tile.len()], &w.of_bias[..tile.len()]);
        } else {
            self.each_parameter(base, tile, |columns, p| {
                let pair = [total(&w.of_weight[columns.clone()]), total(&w.of_bias[columns])];
                found.parameters.add(p, pair);
            });
        }
        if self.parameters.tau.is_some() {
            self.each_parameter(base, tile, |columns, p| found.clipped.add(p, [total(&w.of_tau[columns]), 0.0]));
        }
    }
}

impl Workspace {
    /// Forgets the sums of a tile of `len` columns.
    fn clear(&mut self, len: usize) {
        let Self { products, gradients, of_weight, of_bias, of_tau, .. } = self;
        for sums in [products, gradients, of_weight, of_bias, of_tau] {
            sums[..len].fill(0.0);
        }
    }
}
