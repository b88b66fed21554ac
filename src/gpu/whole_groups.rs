//! The strategies whose workgroups see whole groups, resident and streaming: one dispatch, and one for running estimates
//! where these are not moved on the way.

use super::boxes::{Box4, levels};
use super::partials::{Columns, Partials};
use super::planner::{Chunk, Planner, low, set_partials};
use super::slots::{Kernel, Registers, Saved};
use super::strategy::{Strategy, packs, streamed_together};
use super::variant::Variant;
use crate::error::Result;

/// How workgroups take groups.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// A team holds a group.
    Held,
    /// A team holds columns of groups that lie side by side, so many rows a lane.
    Columns(Columns, Registers),
    /// A team goes twice through a group.
    Streamed,
}

impl Planner<'_> {
    /// How the strategy, which is one of the two, has workgroups take groups.
    fn way(&self) -> Way {
        if self.wishes.strategy == Strategy::Streaming {
            return Way::Streamed;
        }
        Columns::to_hold(self.plan, self.device).map_or(Way::Held, |(columns, rows)| Way::Columns(columns, rows))
    }

    pub(super) fn whole_groups(&mut self) -> Result<()> {
        let tracked = self.tracked().is_some();
        let keeps = self.wishes.saves || (self.plan.running_update().is_some() && !tracked);
        let chunks = if keeps { self.chunks()? } else { vec![Box4::whole(self.plan.view)] };
        let saved = if keeps { Saved::Statistics } else { Saved::None };
        let way = self.way();
        for chunk in chunks {
            match way {
                Way::Held => self.hold(&chunk, saved)?,
                Way::Columns(columns, rows) => self.hold_columns(&chunk, saved, columns, rows)?,
                Way::Streamed => self.stream(&chunk, saved)?,
            }
            if !tracked {
                self.running(&chunk);
            }
        }
        Ok(())
    }

    fn hold(&mut self, chunk: &Chunk, saved: Saved) -> Result<()> {
        let [_, _, _, d] = levels(self.plan.view);
        let packs = packs(self.plan.view);
        let team = self.device.resident_team(packs, self.plan.dtype);
        let mut variant = self.of_groups(Kernel::Resident, d, saved);
        variant.registers = self.device.registers(packs.div_ceil(u64::from(team)));
        variant.residual = Some(self.residual());
        variant.tracks(self.tracked());
        for piece in self.rows_of(chunk)? {
            let mut task = self.task(self.ground(), &piece, chunk);
            task.items = low(piece.groups());
            let step = self.parameter_step(d, false);
            self.push(self.ground(), variant, team, task, &piece, chunk, step);
        }
        Ok(())
    }

    fn hold_columns(&mut self, chunk: &Chunk, saved: Saved, columns: Columns, rows: Registers) -> Result<()> {
        let [_, b, c, d] = levels(self.plan.view);
        let mut variant = self.of_groups(Kernel::ResidentColumns, c * d, saved);
        variant.registers = Some(rows);
        variant.tracks(self.tracked());
        let fits = |piece: &Box4| self.window_fits(self.plan.view, piece) && self.parameters_fit(piece);
        for piece in self.cut(*chunk, [1, b, columns.segment().min(c), d], &fits)? {
            let mut task = self.task(self.ground(), &piece, chunk);
            columns.deal(&mut task, &piece, d);
            let step = self.parameter_step(c * d, true);
            let step = self.push(self.ground(), variant, columns.team, task, &piece, chunk, step);
            step.constants.row_lanes = columns.shared_columns();
        }
        Ok(())
    }

    fn stream(&mut self, chunk: &Chunk, saved: Saved) -> Result<()> {
        let [_, _, _, d] = levels(self.plan.view);
        let partials = Partials::of_groups(self.plan, self.device);
        let variant = self.of_groups(Kernel::Streaming, d, saved);
        for piece in self.rows_of(chunk)? {
            let mut task = self.task(self.ground(), &piece, chunk);
            let groups = piece.groups();
            let together = self.together(&variant, piece.extent(0), groups);
            let together = streamed_together(self.plan, self.device, together);
            task.items = low(piece.extent(0).div_ceil(together) * piece.extent(2));
            set_partials(&mut task, &partials);
            let step = self.parameter_step(d, false);
            let step = self.push(self.ground(), variant, partials.team, task, &piece, chunk, step);
            step.takes_together(together);
        }
        Ok(())
    }

    /// Pieces of whole groups that are read row by row.
    fn rows_of(&self, chunk: &Chunk) -> Result<Vec<Box4>> {
        let [_, b, _, d] = levels(self.plan.view);
        let fits = |piece: &Box4| self.window_fits(self.plan.view, piece) && self.parameters_fit(piece);
        self.cut(*chunk, [1, b, 1, d], &fits)
    }

    /// The slots of a kernel of the two strategies.
    fn of_groups(&self, kernel: Kernel, row: u64, saved: Saved) -> Variant {
        let mut variant = self.applying(Variant::new(kernel), row);
        variant.moment = Some(self.moment());
        variant.epsilon = Some(self.epsilon());
        variant.saved = Some(saved);
        variant
    }
}
