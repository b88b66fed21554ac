//! The kernels that write every element of a tensor: how their work is dealt out.

use super::boxes::{Box4, levels};
use super::partials::Columns;
use super::planner::{Chunk, Planner, Step, low};
use super::slots::Kernel;
use super::strategy::rows_share_words;
use super::variant::Variant;
use crate::error::Result;

/// The kernels that write a tensor: row by row, columns of several rows at once, or words of any run of memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writers {
    pub(super) rows: Kernel,
    pub(super) columns: Kernel,
    pub(super) flat: Kernel,
}

/// Moments or sums of a group that each of its teams joins anew at most: a kilobyte or two, where a team moves a hundred.
const MOST_JOINED: u64 = 128;

/// Fills the slots of a kernel that takes rows of so many elements.
type Slots<'s> = &'s dyn Fn(&Planner<'_>, Variant, u64) -> Variant;

impl Planner<'_> {
    /// Dispatches of a kernel that writes every element of a chunk, each with `fill` done to it.
    pub(super) fn write(
        &mut self,
        chunk: &Chunk,
        writers: Writers,
        slots: Slots<'_>,
        fill: &dyn Fn(&mut Step),
    ) -> Result<()> {
        let [_, _, c, d] = levels(self.plan.view);
        let columns = self.applies_by_columns();
        if rows_share_words(self.plan, if columns { c * d } else { d }, self.device) {
            self.write_flat(chunk, writers.flat, slots, fill)
        } else if columns {
            self.write_columns(chunk, writers.columns, slots, fill)
        } else {
            self.write_rows(chunk, writers.rows, slots, fill)
        }
    }

    /// Whether each team that writes rows joins so many moments or sums of its group itself, by so many lanes: a dispatch
    /// that waits costs a GPU more than each team's doing so anew, if these are few and shuffles join them.
    pub(super) fn team_joins(&self, terms: u64, lanes: u32) -> bool {
        let Some((neighbours, _)) = self.device.subgroups.filter(|_| self.wishes.subgroups) else { return false };
        let d = self.plan.view.d as u64;
        let by_rows = !self.applies_by_columns() && !rows_share_words(self.plan, d, self.device);
        let reach_all = lanes <= neighbours && self.device.team_to_copy(d) >= neighbours;
        !self.device.emulated && by_rows && terms <= MOST_JOINED && reach_all
    }

    pub(super) fn write_rows(
        &mut self,
        chunk: &Chunk,
        kernel: Kernel,
        slots: Slots<'_>,
        fill: &dyn Fn(&mut Step),
    ) -> Result<()> {
        let d = self.plan.view.d as u64;
        let team = self.device.team_to_copy(d);
        let segment = self.device.copy_segment(team);
        let variant = slots(self, Variant::new(kernel), d);
        let fits = |piece: &Box4| self.window_fits(self.plan.view, piece) && self.parameters_fit(piece);
        for piece in self.cut(*chunk, [1, 1, 1, segment], &fits)? {
            let mut task = self.task(self.ground(), &piece, chunk);
            task.segment = low(segment);
            task.place_end = low(piece.to[3]);
            task.extent[3] = low(piece.extent(3).div_ceil(segment));
            let a_group = piece.extent(1) * piece.extent(2) * u64::from(task.extent[3]);
            let together = self.together(&variant, piece.extent(0), piece.extent(0) * a_group);
            task.extent[0] = low(piece.extent(0).div_ceil(together));
            task.items = low(u64::from(task.extent[0]) * a_group);
            let step = self.parameter_step(d, false);
            let step = self.push(self.ground(), variant, team, task, &piece, chunk, step);
            step.takes_together(together);
            fill(step);
        }
        Ok(())
    }

    /// For groups that lie side by side: a team takes a segment of columns and some rows.
    fn write_columns(
        &mut self,
        chunk: &Chunk,
        kernel: Kernel,
        slots: Slots<'_>,
        fill: &dyn Fn(&mut Step),
    ) -> Result<()> {
        let view = self.plan.view;
        let [_, _, c, d] = levels(view);
        let columns = Columns::to_write(self.plan, self.device);
        let variant = slots(self, Variant::new(kernel), c * d);
        let fits = |piece: &Box4| self.window_fits(view, piece) && self.parameters_fit(piece);
        for piece in self.cut(*chunk, [1, columns.rows, 4.min(c), d], &fits)? {
            let mut task = self.task(self.ground(), &piece, chunk);
            columns.deal(&mut task, &piece, d);
            let step = self.parameter_step(c * d, true);
            fill(self.push(self.ground(), variant, columns.team, task, &piece, chunk, step));
        }
        Ok(())
    }

    /// For rows that share words with their neighbours: any run of memory, word by word.
    fn write_flat(&mut self, chunk: &Chunk, kernel: Kernel, slots: Slots<'_>, fill: &dyn Fn(&mut Step)) -> Result<()> {
        let view = self.plan.view;
        let mut variant = slots(self, Variant::new(kernel), 1);
        variant.parameter = variant.parameter.map(|_| self.parameter(1));
        let fits =
            |piece: &Box4| piece.is_contiguous(view) && self.window_fits(view, piece) && self.parameters_fit(piece);
        for piece in self.cut(*chunk, [1; 4], &fits)? {
            let mut task = self.task(self.ground(), &piece, chunk);
            task.items = low(piece.elements());
            let step = self.parameter_step(view.d as u64, false);
            fill(self.push(self.ground(), variant, 1, task, &piece, chunk, step));
        }
        Ok(())
    }
}

impl Columns {
    /// Tells a task how the columns and rows of its box are dealt out, where d elements make a column.
    pub(super) fn deal(&self, task: &mut super::uniforms::Task, piece: &Box4, d: u64) {
        task.rows = low(self.rows);
        task.segment = low(self.segment());
        task.origin[1] = low(piece.from[1] / self.rows);
        task.extent[1] = low(piece.extent(1).div_ceil(self.rows));
        task.origin[3] = low(piece.from[2] * d);
        task.place_end = low(piece.to[2] * d);
        task.extent[3] = low((piece.extent(2) * d).div_ceil(self.segment()));
        task.items = low(piece.extent(0) * u64::from(task.extent[1]) * u64::from(task.extent[3]));
    }
}
