//! Which kernels serve a plan: pure functions of the plan and of what a device can do.

use super::slots::Registers;
use crate::error::{Error, Result};
use crate::plan::{Plan, Source, View, Wanted};
use crate::tensor::Dtype;
use std::fmt;
use std::str::FromStr;

/// How the work of a plan is laid out on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// A team of lanes holds a whole group, in registers or in a processor's cache: one read, one write.
    Resident,
    /// A team goes through a long group twice: two reads, one write.
    Streaming,
    /// Several teams a group write partial moments, which are merged and applied: two reads, one write.
    Split,
    /// As split, for groups that lie side by side: lanes run along the kept level.
    Column,
    /// The statistics are given: one read, one write.
    Affine,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: [Self; 5] = [Self::Resident, Self::Streaming, Self::Split, Self::Column, Self::Affine];

    /// The name, as in file names, labels and `WGPU_NORM_STRATEGY`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resident => "resident",
            Self::Streaming => "streaming",
            Self::Split => "split",
            Self::Column => "column",
            Self::Affine => "affine",
        }
    }

    /// Whether this strategy can serve the plan on such a device; if not, why.
    ///
    /// # Errors
    ///
    /// [`Error::Strategy`] with the reason.
    pub fn supports(self, plan: &Plan, device: &Capabilities) -> Result<()> {
        match self.obstacle(plan, device) {
            Some(reason) => Err(Error::Strategy { strategy: self.name(), reason }),
            None => Ok(()),
        }
    }

    /// Whether this strategy can serve the backward pass of the plan on such a device; if not, why.
    ///
    /// # Errors
    ///
    /// [`Error::Strategy`] with the reason.
    pub fn supports_backward(self, plan: &Plan, wanted: Wanted, device: &Capabilities) -> Result<()> {
        if plan.view.elements() == 0 {
            return Ok(());
        }
        // What reaches the shares of a mixture goes through the statistics too.
        let through =
            plan.statistics_follow_input() && (wanted.input || (wanted.extra && plan.source.mixing().is_some()));
        let obstacle = match self {
            Self::Affine => through.then(|| "a gradient goes through the statistics".to_owned()),
            _ if !through => Some("no gradient goes through the statistics, which affine alone takes".into()),
            Self::Streaming => Some("backward has no such kernel; split gives the same bits".into()),
            Self::Resident => {
                self.obstacle(plan, device).or_else(|| group_beyond(device.resident_gradient_packs(), plan))
            }
            Self::Split | Self::Column => self.obstacle(plan, device),
        };
        match obstacle {
            Some(reason) => Err(Error::Strategy { strategy: self.name(), reason }),
            None => Ok(()),
        }
    }

    fn obstacle(self, plan: &Plan, device: &Capabilities) -> Option<String> {
        if plan.view.elements() == 0 {
            return None;
        }
        let given = matches!(plan.source, Source::Running { .. } | Source::Nothing);
        if plan.source.mixing().is_some() && matches!(self, Self::Resident | Self::Streaming) {
            return Some("statistics are mixed before they are applied".into());
        }
        if (self == Self::Affine) != given {
            return Some(if given {
                "the statistics are given, which affine alone takes".into()
            } else {
                "the statistics come from the input".into()
            });
        }
        match self {
            Self::Resident => shares_rows(plan, device)
                .or_else(|| group_beyond_binding(plan, device))
                .or_else(|| group_beyond(device.resident_packs(), plan)),
            Self::Streaming => shares_rows(plan, device).or_else(|| group_beyond_binding(plan, device)).or_else(|| {
                let iterations = streaming_iterations(plan, device);
                (iterations > MOST_ITERATIONS).then(|| {
                    format!("a lane would take {iterations} iterations, {MOST_ITERATIONS} are safe on every driver")
                })
            }),
            Self::Split | Self::Affine => None,
            Self::Column => (plan.view.b < 2).then(|| "a group is one row, so there are no columns".into()),
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Strategy {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name).ok_or_else(|| Error::Value {
            argument: "strategy",
            got: format!("{name:?}"),
            expected: "resident, streaming, split, column or affine".into(),
        })
    }
}

/// lavapipe of Mesa 22.3 ends an invocation after 65,535 iterations over all its loops, without an error.
pub const MOST_ITERATIONS: u64 = 60_000;

/// Below this many elements of `d`, groups side by side are served column by column.
pub(super) const SHORT_ROW: usize = 16;

/// Invocations of the largest workgroup that any kernel makes use of.
pub(super) const MOST_INVOCATIONS: u32 = 512;

/// Lanes at work that keep a GPU's memory busy.
const ENOUGH_LANES: u64 = 1 << 16;

/// What a device can do, as far as it bears on strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether the processor stands in for a GPU: few lanes, dear barriers.
    pub emulated: bool,
    /// The least and the largest number of lanes of a subgroup, where there are subgroup operations.
    pub subgroups: Option<(u32, u32)>,
    /// Whether shaders know f16.
    pub native_f16: bool,
    /// Bytes of the largest storage binding.
    pub max_binding: u64,
    /// Workgroups a dimension of a dispatch.
    pub max_workgroups: u32,
    /// Invocations a workgroup.
    pub max_invocations: u32,
    /// Bytes that a storage binding's offset has to be a multiple of.
    pub storage_alignment: u32,
    /// Bytes that a uniform binding's offset has to be a multiple of.
    pub uniform_alignment: u32,
}

/// The one table of what adapters like. lavapipe: 8 lanes best or tied for every shape, 64 for plain copies. GPUs: as
/// measured on an NVIDIA H100. docs/performance.md has what was measured of both.
impl Capabilities {
    /// Lanes of the largest team that goes through memory.
    #[must_use]
    pub fn most_lanes(&self) -> u32 {
        let wanted = if self.emulated { 8 } else { 256 };
        wanted.min(previous_power_of_two(self.max_invocations))
    }

    /// Lanes of the largest team that holds a group.
    #[must_use]
    pub fn most_resident_lanes(&self) -> u32 {
        let wanted = if self.emulated { 8 } else { MOST_INVOCATIONS };
        wanted.min(previous_power_of_two(self.max_invocations))
    }

    /// Where the resident kernel keeps this many packs a lane.
    #[must_use]
    pub fn registers(&self, packs: u64) -> Option<Registers> {
        if self.emulated { Some(Registers::None) } else { Registers::holding(packs) }
    }

    /// Elements that go to one partial.
    #[must_use]
    pub fn partial_elements(&self) -> u64 {
        if self.emulated { 8192 } else { 32 * u64::from(self.most_lanes()) }
    }

    /// Rows of a column that a lane takes, of so many with so many packs side by side: few where those of one sample
    /// would not fill the device, more where blocks would be many. How many samples there are plays no part.
    #[must_use]
    pub fn column_rows(&self, rows: u64, packs: u64) -> u64 {
        if self.emulated {
            return 512;
        }
        let turns = rows.saturating_mul(packs) / ENOUGH_LANES;
        previous_power_of_two(u32::try_from(turns).unwrap_or(u32::MAX)).clamp(16, 32).into()
    }

    /// Lanes that stand side by side on so many packs, and those that share a column of so many rows. Together they
    /// are a workgroup at most: 128, since what lanes have meets in workgroup memory, of which some devices have less
    /// than 16 KiB.
    #[must_use]
    pub fn column_lanes(&self, rows: u64, packs: u64) -> (u32, u32) {
        if self.emulated {
            return (8, 1);
        }
        let below = |n: u64, most: u32| u32::try_from(n).unwrap_or(u32::MAX).min(most).next_power_of_two();
        let side = below(packs, 32);
        (side, below(rows, self.column_workgroup(2) / side))
    }

    /// Lanes of a workgroup with teams of this many that add up columns.
    #[must_use]
    pub fn column_workgroup(&self, team: u32) -> u32 {
        let lanes = self.copy_workgroup(team);
        if self.emulated { lanes } else { lanes.min(128) }
    }

    /// Lanes of a workgroup with teams of this many that do not meet.
    #[must_use]
    pub fn copy_workgroup(&self, team: u32) -> u32 {
        if team > 1 { self.copy_lanes() } else { self.single_lanes() }
    }

    /// Groups that are enough to fill the device with one team each.
    #[must_use]
    pub fn enough_groups(&self) -> usize {
        if self.emulated { 8 } else { 512 }
    }

    /// Lanes of a workgroup where each works alone.
    #[must_use]
    pub fn single_lanes(&self) -> u32 {
        let wanted = if self.emulated { 64 } else { 256 };
        wanted.min(previous_power_of_two(self.max_invocations))
    }

    /// Lanes of the largest team that applies. Where a processor stands in, lanes beyond one of its vectors go over
    /// the same memory one vector after the other, each in steps that no prefetcher follows.
    #[must_use]
    pub fn copy_lanes(&self) -> u32 {
        if self.emulated { self.most_lanes() } else { self.single_lanes() }
    }

    /// Elements that a team which applies takes of a row.
    #[must_use]
    pub fn copy_segment(&self, team: u32) -> u64 {
        let packs = if self.emulated { 64 } else { 8 };
        u64::from(team) * 4 * packs
    }

    /// Lanes of a workgroup with teams of this many.
    #[must_use]
    pub fn workgroup(&self, team: u32) -> u32 {
        let least = match (self.emulated, team) {
            (_, 1) => 64,
            (true, _) => 8,
            (false, _) => 64,
        };
        let whole_subgroups = self.subgroups.map_or(1, |(_, most)| most);
        team.max(least).max(whole_subgroups).min(previous_power_of_two(self.max_invocations))
    }

    /// Lanes of a team for this many packs.
    #[must_use]
    pub fn team(&self, packs: u64) -> u32 {
        // A lane more than 32 pays only when each has several packs to load at once.
        let lanes = if packs <= 32 { packs } else { packs.div_ceil(4).max(32) };
        let lanes = u32::try_from(lanes.next_power_of_two()).unwrap_or(u32::MAX);
        lanes.clamp(1, self.most_lanes())
    }

    /// Lanes of a team that copies a row of this many elements.
    #[must_use]
    pub fn team_to_copy(&self, row: u64) -> u32 {
        let lanes = row.div_ceil(4).next_power_of_two();
        u32::try_from(lanes).unwrap_or(u32::MAX).clamp(1, self.copy_lanes())
    }

    /// Lanes of a team that averages this many statistics: some dozens each, and few enough that no lane
    /// comes near its bound on iterations for as many as the scratch of a dispatch holds.
    #[must_use]
    pub fn team_to_average(&self, samples: u64) -> u32 {
        let lanes = samples.div_ceil(64).next_power_of_two();
        u32::try_from(lanes).unwrap_or(u32::MAX).clamp(1, previous_power_of_two(self.max_invocations.min(256)))
    }

    /// Lanes of a team that holds a group of this many packs.
    #[must_use]
    pub fn resident_team(&self, packs: u64) -> u32 {
        self.team_of_holders(packs, Registers::R8.packs())
    }

    /// The same, where it holds what backward needs: of each pack four times as much.
    #[must_use]
    pub fn gradient_team(&self, packs: u64) -> u32 {
        self.team_of_holders(packs, Registers::R4.packs())
    }

    /// A team as wide as others, unless a lane would hold more than so many packs, and may be one of more.
    fn team_of_holders(&self, packs: u64, most: u64) -> u32 {
        let lanes = u32::try_from(packs.div_ceil(most).next_power_of_two()).unwrap_or(u32::MAX);
        self.team(packs).max(lanes.min(self.most_resident_lanes()))
    }

    /// Groups that a team of so many lanes takes one after the other where it adds up the gradients of parameters:
    /// of `groups` with this many packs each.
    #[must_use]
    pub fn gradient_block(&self, groups: u64, packs: u64, team: u32) -> u64 {
        if self.emulated {
            // A lane goes twice through all packs of a block, and has to stay within its iterations.
            return if packs > 1 << 13 { 8 } else { 16 };
        }
        // As few blocks as fill the device: each leaves a sum for every place.
        let turns = groups.saturating_mul(u64::from(team)) / ENOUGH_LANES;
        previous_power_of_two(u32::try_from(turns).unwrap_or(u32::MAX)).clamp(1, 32).into()
    }

    /// Packs of the longest group that the resident kernel takes: what registers hold, or a processor's cache.
    #[must_use]
    pub fn resident_packs(&self) -> u64 {
        let in_registers = (u64::from(self.most_resident_lanes()) * Registers::R16.packs()).min(1 << 12);
        if self.emulated { 1 << 14 } else { in_registers }
    }

    /// The same of its backward pass.
    #[must_use]
    pub fn resident_gradient_packs(&self) -> u64 {
        let in_registers = (u64::from(self.most_resident_lanes()) * Registers::R8.packs()).min(1 << 11);
        if self.emulated { 1 << 14 } else { in_registers }
    }
}

fn previous_power_of_two(n: u32) -> u32 {
    1 << n.max(1).ilog2()
}

/// The strategy for a plan.
///
/// What fixes the order of a reduction depends on the length of a group, the storage type and the device
/// alone: the number of groups decides only between streaming and split, which give the same bits.
#[must_use]
pub fn choose(plan: &Plan, device: &Capabilities) -> Strategy {
    let view = plan.view;
    let serves = |strategy: Strategy| strategy.supports(plan, device).is_ok();
    if serves(Strategy::Affine) {
        Strategy::Affine
    } else if view.d < SHORT_ROW && view.c > 1 && serves(Strategy::Column) {
        Strategy::Column
    } else if serves(Strategy::Resident) {
        Strategy::Resident
    } else if view.statistics() >= device.enough_groups() && serves(Strategy::Streaming) {
        Strategy::Streaming
    } else {
        Strategy::Split
    }
}

/// The strategy for the backward pass of a plan. [`Strategy::Affine`] stands for one where no gradient goes
/// through the statistics, or none of the input is wanted.
#[must_use]
pub fn choose_backward(plan: &Plan, wanted: Wanted, device: &Capabilities) -> Strategy {
    let view = plan.view;
    let serves = |strategy: Strategy| strategy.supports_backward(plan, wanted, device).is_ok();
    if serves(Strategy::Affine) {
        Strategy::Affine
    } else if view.d < SHORT_ROW && view.c > 1 && serves(Strategy::Column) {
        Strategy::Column
    } else if serves(Strategy::Resident) {
        Strategy::Resident
    } else {
        Strategy::Split
    }
}

/// Packs of a group: rows do not share one.
#[must_use]
pub fn packs(view: View) -> u64 {
    view.b as u64 * (view.d as u64).div_ceil(4)
}

/// Whether rows of this many elements share words of two 16-bit elements.
#[must_use]
pub(super) fn rows_share_words(plan: &Plan, row: u64, device: &Capabilities) -> bool {
    let native = plan.dtype == Dtype::F16 && device.native_f16;
    plan.dtype.size() == 2 && !native && row % 2 == 1
}

fn shares_rows(plan: &Plan, device: &Capabilities) -> Option<String> {
    rows_share_words(plan, plan.view.d as u64, device)
        .then(|| format!("rows of {} packed {} elements share words with their neighbours", plan.view.d, plan.dtype))
}

fn group_beyond(most: u64, plan: &Plan) -> Option<String> {
    let packs = packs(plan.view);
    (packs > most).then(|| format!("a group is {packs} packs of four elements, {most} are held"))
}

fn group_beyond_binding(plan: &Plan, device: &Capabilities) -> Option<String> {
    let view = plan.view;
    let span = ((view.b as u64 - 1) * view.c as u64 + 1) * view.d as u64 * plan.dtype.size() as u64;
    let room = device.max_binding - u64::from(device.storage_alignment);
    (span > room).then(|| format!("a group spans {span} bytes, a binding {}", device.max_binding))
}

/// How the groups of a plan are cut into partials: by the length of a group and the device alone.
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
        Self::of_rows(plan.view, plan.dtype, device)
    }

    /// For columns.
    #[must_use]
    pub fn of_columns(plan: &Plan, device: &Capabilities) -> Self {
        Self::of_blocks(plan.view, plan.dtype, device)
    }

    /// Of groups whose rows are read one after the other.
    pub(super) fn of_rows(view: View, dtype: Dtype, device: &Capabilities) -> Self {
        let (b, d) = (view.b as u64, view.d as u64);
        // Merging has its own loop to bound, so very long groups make larger partials; of whole packs.
        let most = device.partial_elements().max(b.saturating_mul(d).div_ceil(1 << 18).next_multiple_of(4));
        let span = view.c as u64 * d * dtype.size() as u64;
        // Rows of one partial have to lie in one binding.
        let rows = (most / d).min(device.max_binding / 2 / span.max(1)).clamp(1, b);
        let segment = d.min(most);
        let segments = d.div_ceil(segment);
        let team = device.team(rows * segment.div_ceil(4));
        Self { rows, segment, segments, count: b.div_ceil(rows) * segments, team }
    }

    /// Of groups that lie side by side.
    pub(super) fn of_blocks(view: View, dtype: Dtype, device: &Capabilities) -> Self {
        let (b, d) = (view.b as u64, view.d as u64);
        let span = view.c as u64 * d * dtype.size() as u64;
        // Merging has its own loop to bound, so very many rows make larger blocks.
        let most_blocks = (1 << 18) / d.min(1 << 17);
        let packs = (view.c as u64 * d).div_ceil(4);
        let wanted = device.column_rows(b, packs) * u64::from(device.column_lanes(b, packs).1);
        let rows = wanted.max(b.div_ceil(most_blocks)).min(device.max_binding / 2 / span.max(1)).clamp(1, b);
        let count = b.div_ceil(rows) * d;
        Self { rows, segment: d, segments: 1, count, team: device.team(count.div_ceil(8)) }
    }
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
    pub packs: Registers,
}

impl Columns {
    /// For kernels that add up blocks of rows, and keep what they have so far of each column.
    #[must_use]
    pub fn to_sum(view: View, blocks: &Partials, device: &Capabilities) -> Self {
        let rows = blocks.rows;
        if device.emulated {
            // A lane goes through all rows for each of its packs, and has to stay within its iterations.
            let few = rows <= MOST_ITERATIONS / 16;
            let (team, packs) = if few { (8, Registers::R8) } else { (1, Registers::R1) };
            return Self { rows, team, row_lanes: 1, packs };
        }
        let (side, row_lanes) = device.column_lanes(rows, (view.c as u64 * view.d as u64).div_ceil(4));
        Self { rows, team: side * row_lanes, row_lanes, packs: Registers::R1 }
    }

    /// For kernels that write, and load what belongs to a column once for some rows.
    pub(super) fn to_write(plan: &Plan, device: &Capabilities) -> Self {
        let view = plan.view;
        let span = view.c as u64 * view.d as u64 * plan.dtype.size() as u64;
        let rows = 8.min(device.max_binding / 2 / span.max(1)).clamp(1, view.b as u64);
        let (team, packs) = if device.emulated { (8, Registers::R64) } else { (1, Registers::R1) };
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
        (self.team / self.row_lanes) as u64 * 4 * self.packs.packs()
    }
}

fn streaming_iterations(plan: &Plan, device: &Capabilities) -> u64 {
    let partials = Partials::of_groups(plan, device);
    let team = u64::from(partials.team);
    let a_pass = packs(plan.view).div_ceil(team) + partials.count;
    let a_gathering = u64::from(partials.team.ilog2());
    2 * a_pass + (partials.count + 1) * (1 + a_gathering)
}
