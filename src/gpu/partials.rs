//! How groups are cut: into partials, and columns into what a team takes.

use super::boxes::Box4;
use super::capabilities::Capabilities;
use super::planner::{Ground, parameters_fit, window_fits};
use super::slots::Registers;
use super::strategy::{MOST_ITERATIONS, rows_share_words};
use crate::plan::{Plan, View};
use crate::tensor::Dtype;

/// How the groups of a plan are cut into partials: by the length of a group and the device alone; of groups that lie side
/// by side, by how many do as well. How many samples there are plays no part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partials {
    /// Rows of `b` a partial.
    pub rows: u64,
    /// Elements of a row a partial.
    pub segment: u64,
    /// Partials a row.
    pub segments: u64,
    /// Partials a statistic.
    pub count: u64,
    /// Lanes a partial, and for merging them.
    pub team: u32,
}

impl Partials {
    /// For streaming and split.
    #[must_use]
    pub fn of_groups(plan: &Plan, device: &Capabilities) -> Self {
        Self::of_rows(plan.view, row_bytes(plan.view, plan.dtype), device)
    }

    /// For columns.
    #[must_use]
    pub fn of_columns(plan: &Plan, device: &Capabilities) -> Self {
        Self::of_blocks(plan.view, row_bytes(plan.view, plan.dtype), device)
    }

    /// Of groups whose rows are read one after the other, of so many bytes a row in any one binding.
    pub(super) fn of_rows(view: View, row_bytes: u64, device: &Capabilities) -> Self {
        let (b, d) = (view.b as u64, view.d as u64);
        // Merging has its own loop to bound, so very long groups make larger partials; of whole packs.
        let most = device.partial_elements().max(b.saturating_mul(d).div_ceil(1 << 18).next_multiple_of(4));
        // Rows of one partial have to lie in one binding.
        let rows = (most / d).min(device.max_binding / 2 / row_bytes.max(1)).clamp(1, b);
        let segment = d.min(most);
        let segments = d.div_ceil(segment);
        let team = device.team(rows * segment.div_ceil(4));
        Self { rows, segment, segments, count: b.div_ceil(rows) * segments, team }
    }

    /// Of groups that lie side by side, of so many bytes a row in any one binding.
    pub(super) fn of_blocks(view: View, row_bytes: u64, device: &Capabilities) -> Self {
        let (b, d) = (view.b as u64, view.d as u64);
        // Merging has its own loop to bound, so very many rows make larger blocks.
        let most_blocks = (1 << 18) / d.min(1 << 17);
        let packs = column_packs(view);
        let wanted = device.column_rows(b, packs) * u64::from(device.column_lanes(b, packs).1);
        let rows = wanted.max(b.div_ceil(most_blocks)).min(device.max_binding / 2 / row_bytes.max(1)).clamp(1, b);
        let count = b.div_ceil(rows) * d;
        Self { rows, segment: d, segments: 1, count, team: device.team_to_merge(count) }
    }
}

/// Bytes of a row of `b`.
pub(super) fn row_bytes(view: View, dtype: Dtype) -> u64 {
    view.c as u64 * view.d as u64 * dtype.size() as u64
}

/// Packs of four columns side by side.
fn column_packs(view: View) -> u64 {
    (view.c as u64 * view.d as u64).div_ceil(4)
}

/// How groups that lie side by side are dealt to teams: a segment of columns, and some rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns {
    /// Rows a team takes.
    pub rows: u64,
    /// Lanes of a team.
    pub team: u32,
    /// Lanes of it that share a column; the others stand side by side.
    pub row_lanes: u32,
    /// Packs of four columns that a lane takes.
    pub packs: u64,
}

impl Columns {
    /// For kernels that add up blocks of rows, and keep what they have so far of each column.
    #[must_use]
    pub fn to_sum(view: View, blocks: &Partials, device: &Capabilities) -> Self {
        let rows = blocks.rows;
        if device.emulated {
            // A lane goes through all rows for each of its packs, and has to stay within its iterations.
            let few = rows <= MOST_ITERATIONS / 16;
            let (team, packs) = if few { (8, 8) } else { (1, 1) };
            return Self { rows, team, row_lanes: 1, packs };
        }
        let (side, row_lanes) = device.column_lanes(rows, column_packs(view));
        Self { rows, team: side * row_lanes, row_lanes, packs: 1 }
    }

    /// For the kernel that holds whole columns, where it can, and the rows that a lane holds: by their length, the storage
    /// type and the device alone.
    #[must_use]
    pub fn to_hold(plan: &Plan, device: &Capabilities) -> Option<(Self, Registers)> {
        if plan.residual { None } else { Self::holding(plan, device, Registers::R16) }
    }

    /// The same for backward, where two tensors are held, and nothing is summed but what weight and bias need.
    #[must_use]
    pub fn to_hold_gradient(plan: &Plan, device: &Capabilities) -> Option<(Self, Registers)> {
        let second_sums = plan.extra.tau.is_some() || plan.extra.eps_l.is_some();
        if second_sums { None } else { Self::holding(plan, device, Registers::R8) }
    }

    /// So many rows a lane at most.
    fn holding(plan: &Plan, device: &Capabilities, most: Registers) -> Option<(Self, Registers)> {
        let view = plan.view;
        let are_columns = view.d == 1 && view.c > 1 && view.b > 1;
        if !are_columns || rows_share_words(plan, view.c as u64, device) {
            return None;
        }
        let (most_side, row_lanes, held) = device.column_holders(view.b as u64, plan.dtype.size(), most)?;
        let side = u32::try_from(column_packs(view).next_power_of_two()).map_or(most_side, |all| most_side.min(all));
        let columns = Self { rows: view.b as u64, team: side * row_lanes, row_lanes, packs: 1 };
        // Rows are not cut.
        let segment = Box4 { from: [0; 4], to: [1, view.b as u64, columns.segment().min(view.c as u64), 1] };
        let fits = window_fits(plan, device, view, &segment)
            && parameters_fit(plan, device, &Ground::of(plan).parameters(&segment));
        fits.then_some((columns, held))
    }

    /// For kernels that write, and load what belongs to a column once for some rows.
    pub(super) fn to_write(plan: &Plan, device: &Capabilities) -> Self {
        let view = plan.view;
        let rows = 8.min(device.max_binding / 2 / row_bytes(view, plan.dtype).max(1)).clamp(1, view.b as u64);
        let (team, packs) = if device.emulated { (8, 64) } else { (1, 1) };
        Self { rows, team, row_lanes: 1, packs }
    }

    /// How many lanes share a column, where any do.
    #[must_use]
    pub fn shared_columns(&self) -> Option<u32> {
        (self.row_lanes > 1).then_some(self.row_lanes)
    }

    /// Columns of a segment.
    #[must_use]
    pub const fn segment(&self) -> u64 {
        (self.team / self.row_lanes) as u64 * 4 * self.packs
    }
}
