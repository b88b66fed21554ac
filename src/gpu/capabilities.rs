//! What a device can do, and what it likes: the one table of thresholds.

use super::slots::Registers;
use crate::tensor::Dtype;

/// Invocations of the largest workgroup that any kernel makes use of.
pub(super) const MOST_INVOCATIONS: u32 = 512;

/// What a lane of the resident kernel holds at most.
const MOST_HELD: Registers = Registers::R26;

/// Packs of the longest group that a processor's cache holds from one read to the next.
const MOST_CACHED: u64 = 1 << 14;

/// Bytes of workgroup memory that a lane takes where lanes meet.
pub(super) const EXCHANGED_BYTES: u32 = 32;

/// `KEPT` of `shaders/shared/together.wgsl`.
const MOST_TOGETHER: u64 = 4;

/// Teams, and workgroups of them, that leave every core of a processor that stands in some.
const ENOUGH_TEAMS: u64 = 16;

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
    /// Invocations a workgroup, as far as its memory lets them meet.
    pub max_invocations: u32,
    /// Bytes that a storage binding's offset has to be a multiple of.
    pub storage_alignment: u32,
    /// Bytes that a uniform binding's offset has to be a multiple of.
    pub uniform_alignment: u32,
}

/// Blocks of groups that all processors have something to do with, where these stand in.
const FEWEST_BLOCKS: u64 = 8;

/// The one table of what adapters like. lavapipe: 8 lanes best or tied for every shape, 64 for plain copies. GPUs: as
/// measured on an NVIDIA H100 and an H200. docs/performance.md has what was measured of both.
impl Capabilities {
    /// Lanes of the largest team that goes through memory.
    #[must_use]
    pub fn most_lanes(&self) -> u32 {
        self.granted(if self.emulated { 8 } else { 256 })
    }

    /// Lanes of the largest team that holds a group.
    #[must_use]
    pub fn most_resident_lanes(&self) -> u32 {
        self.granted(if self.emulated { 8 } else { MOST_INVOCATIONS })
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
        turns(rows.saturating_mul(packs)).clamp(16, 32)
    }

    /// Lanes that stand side by side on so many packs, and those that share a column of so many rows: none share few.
    /// Together they are a workgroup at most: 128, since what lanes have meets in workgroup memory, of which some devices
    /// have less than 16 KiB.
    #[must_use]
    pub fn column_lanes(&self, rows: u64, packs: u64) -> (u32, u32) {
        if self.emulated {
            return (8, 1);
        }
        let most = self.most_column_lanes();
        if rows <= 8 {
            return (lanes(packs, most), 1);
        }
        let side = lanes(packs, 32);
        (side, lanes(rows, most / side))
    }

    /// How columns of so many rows, of elements of so many bytes, are held: by so many lanes side by side, which read
    /// 128 bytes of a row, and by so many that share a column, each so many rows of it, `most` at most. Half as many
    /// bytes took a quarter longer. How many columns there are plays no part.
    #[must_use]
    pub fn column_holders(&self, rows: u64, element: usize, most: Registers) -> Option<(u32, u32, Registers)> {
        if self.emulated {
            return None;
        }
        let all = self.most_resident_lanes();
        let side = all.min(if element == 4 { 8 } else { 16 });
        let row_lanes = lanes(rows.div_ceil(8), all / side);
        let holding = |r: &Registers| r.packs() * u64::from(row_lanes) >= rows && r.packs() <= most.packs();
        [Registers::R8, Registers::R16].into_iter().find(holding).map(|registers| (side, row_lanes, registers))
    }

    /// Lanes of a workgroup with teams of this many that add up columns.
    #[must_use]
    pub fn column_workgroup(&self, team: u32) -> u32 {
        if self.emulated { self.copy_workgroup(team) } else { self.most_column_lanes() }
    }

    fn most_column_lanes(&self) -> u32 {
        self.granted(128)
    }

    /// Lanes of a workgroup with teams of this many that do not meet.
    #[must_use]
    pub fn copy_workgroup(&self, team: u32) -> u32 {
        if team > 1 { self.copy_lanes() } else { self.single_lanes() }
    }

    /// Groups with the same parameters that a team takes together, where one each would be so many teams. Where a processor
    /// stands in, parameters are every other load.
    #[must_use]
    pub fn groups_together(&self, teams: u64) -> u64 {
        if self.emulated && teams >= ENOUGH_TEAMS * MOST_TOGETHER { MOST_TOGETHER } else { 1 }
    }

    /// Groups that are enough to fill the device with one team each; where a processor stands in, with teams that take
    /// several together.
    #[must_use]
    pub fn enough_groups(&self) -> u64 {
        if self.emulated { ENOUGH_TEAMS * MOST_TOGETHER } else { 512 }
    }

    /// Lanes of a workgroup where each works alone.
    #[must_use]
    pub fn single_lanes(&self) -> u32 {
        self.granted(if self.emulated { 64 } else { 256 })
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

    /// Whether rows of this many f16 are better read and written in the adapter's own type than two a word, which takes
    /// rows of even length. lavapipe handles 16 bits at a time, lane by lane, and takes 1.3 to 1.7 times as long.
    #[must_use]
    pub fn prefers_native_f16(&self, row: u64) -> bool {
        self.native_f16 && !(self.emulated && row.is_multiple_of(2))
    }

    /// Lanes of a workgroup with teams of this many, one an item.
    #[must_use]
    pub fn workgroup(&self, team: u32, items: u64) -> u32 {
        let are_enough = items.saturating_mul(team.into()) >= 32 * ENOUGH_TEAMS;
        let least = match (self.emulated && team > 1, are_enough) {
            (true, true) => 32,
            (true, false) => team,
            (false, _) => 64,
        };
        let whole_subgroups = self.subgroups.map_or(1, |(_, most)| most);
        self.granted(team.max(least).max(whole_subgroups))
    }

    /// Lanes of a team for this many packs.
    #[must_use]
    pub fn team(&self, packs: u64) -> u32 {
        self.team_of(packs, 6)
    }

    /// A lane more than 32 pays only when each has several packs to load at once.
    fn team_of(&self, packs: u64, each: u64) -> u32 {
        lanes(if packs <= 32 { packs } else { packs.div_ceil(each).max(32) }, self.most_lanes())
    }

    /// Lanes of a team that copies a row of this many elements.
    #[must_use]
    pub fn team_to_copy(&self, row: u64) -> u32 {
        lanes(row.div_ceil(4), self.copy_lanes())
    }

    /// Lanes that merge so many moments. A GPU waits for one division after the other.
    #[must_use]
    pub fn team_to_merge(&self, moments: u64) -> u32 {
        if self.emulated { self.team(moments.div_ceil(8)) } else { lanes(moments.div_ceil(2), self.most_lanes()) }
    }

    /// Whether a lane loads all that it adds up next before it adds the first of it. A processor that stands in waits for
    /// no load, and keeps them in memory.
    #[must_use]
    pub fn loads_first(&self) -> bool {
        !self.emulated
    }

    /// Lanes that add up the terms of a sum, be they neighbours in memory or those of neighbouring sums: some dozens each,
    /// and few enough that no lane comes near its bound on iterations for as many as the scratch of a dispatch holds. A GPU
    /// has each take few, since it waits for one after the other. How many sums there are plays no part.
    #[must_use]
    pub fn team_to_collect(&self, terms: u64, are_neighbours: bool) -> u32 {
        let few_each = lanes(terms.div_ceil(8), self.granted(if are_neighbours { 256 } else { 32 }));
        let team = lanes(terms.div_ceil(64), self.granted(256));
        if self.emulated { team } else { team.max(few_each) }
    }

    /// Lanes of a workgroup with teams of this many that add up terms: of eight sums, so that it reads whole stretches of
    /// memory where terms are neighbours of other sums' terms.
    #[must_use]
    pub fn collecting_workgroup(&self, team: u32) -> u32 {
        self.granted((8 * team).clamp(64, 256))
    }

    /// Lanes of a team that holds a group of this many packs. Those of f16 are short, so each loads more of them; with
    /// bf16 lanes have more to do than to load.
    #[must_use]
    pub fn resident_team(&self, packs: u64, dtype: Dtype) -> u32 {
        let most = Registers::R8.packs();
        let each = if dtype == Dtype::F16 { most } else { 6 };
        self.team_of(packs, each).max(self.holders(packs, most))
    }

    /// The same, where it holds what backward needs: of each pack four times as much, six times where it loads ahead.
    #[must_use]
    pub fn gradient_team(&self, packs: u64) -> u32 {
        self.team(packs).max(self.holders(packs, Registers::R4.packs()))
    }

    /// So many lanes that none has to hold more than so many packs, or the most.
    fn holders(&self, packs: u64, most: u64) -> u32 {
        lanes(packs.div_ceil(most), self.most_resident_lanes())
    }

    /// Groups that a team of so many lanes takes one after the other where it adds up the gradients of parameters:
    /// of `groups` with this many packs each.
    #[must_use]
    pub fn gradient_block(&self, groups: u64, packs: u64, team: u32) -> u64 {
        if self.emulated {
            // A lane goes twice through all packs of a block, and has to stay within its iterations; and there
            // are blocks for every processor.
            return (groups / FEWEST_BLOCKS).clamp(1, if packs > 1 << 13 { 8 } else { 16 });
        }
        // As few blocks as fill the device: each leaves a sum for every place.
        turns(groups.saturating_mul(u64::from(team))).clamp(1, 32)
    }

    /// Packs of the longest group that the resident kernel takes: what registers hold, or a processor's cache.
    #[must_use]
    pub fn resident_packs(&self) -> u64 {
        if self.emulated { MOST_CACHED } else { self.held(MOST_HELD) }
    }

    /// Packs of the longest group that is resident where other strategies serve it as well. Where a processor stands in
    /// nothing is held, so the resident kernel reads a group three times and streaming twice; the moments that streaming
    /// merges outweigh that only where groups are short and its lanes meet in memory, or few at a time. On a GPU words of
    /// 16 bits take registers beside what is held of them, and what lanes hold most of is not left to registers then.
    #[must_use]
    pub fn packs_worth_holding(&self, dtype: Dtype) -> u64 {
        let meet_at_once = self.subgroups.is_some_and(|(least, _)| least >= self.most_lanes());
        match (self.emulated, dtype) {
            (true, _) if meet_at_once => 0,
            (true, _) => 1 << 6,
            (false, Dtype::F32) => self.resident_packs(),
            (false, Dtype::F16 | Dtype::Bf16) => self.held(Registers::R16),
        }
    }

    /// Whether a processor stands in whose cache holds a group of so many packs from one read to the next.
    #[must_use]
    pub fn caches(&self, packs: u64) -> bool {
        self.emulated && packs <= self.resident_packs()
    }

    /// Packs of the longest group whose backward pass the resident kernel takes.
    #[must_use]
    pub fn resident_gradient_packs(&self) -> u64 {
        if self.emulated { MOST_CACHED } else { self.held(Registers::R8).min(1 << 11) }
    }

    /// So many invocations, a power of two, or as many as a workgroup may have.
    fn granted(&self, wanted: u32) -> u32 {
        wanted.min(1 << self.max_invocations.max(1).ilog2())
    }

    /// Packs that the registers of a team hold, so many a lane.
    fn held(&self, a_lane: Registers) -> u64 {
        u64::from(self.most_resident_lanes()) * a_lane.packs()
    }
}

/// As many lanes as there is something for, a power of two, and no more than so many, which is one as well.
fn lanes(for_each: u64, most: u32) -> u32 {
    u32::try_from(for_each).unwrap_or(u32::MAX).clamp(1, most).next_power_of_two()
}

/// How often as many lanes as a device has at work at once go over so much work, a power of two.
fn turns(work: u64) -> u64 {
    1 << (work / ENOUGH_LANES).max(1).ilog2()
}
