//! Which kernels serve a plan: pure functions of the plan and of what a device can do.

use super::boxes::{Box4, levels};
use super::capabilities::Capabilities;
use super::partials::{Columns, Partials};
use super::planner::{Ground, parameters_fit, window_fits};
use crate::error::{Error, Result};
use crate::plan::{Plan, Source, View, Wanted};
use crate::tensor::Dtype;
use std::fmt;
use std::str::FromStr;

/// How the work of a plan is laid out on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// A team of lanes holds a whole group, in registers or in a processor's cache, or a workgroup holds columns of groups
    /// that lie side by side: one read, one write.
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
            Self::Resident if Columns::to_hold_gradient(plan, device).is_some() => mixes(plan),
            Self::Resident => {
                let beyond = || group_beyond(device.resident_gradient_packs(), plan);
                self.obstacle(plan, device).or_else(|| shares_rows(plan, device)).or_else(beyond)
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
        if let (Self::Resident | Self::Streaming, Some(reason)) = (self, mixes(plan)) {
            return Some(reason);
        }
        if (self == Self::Affine) != given {
            return Some(if given {
                "the statistics are given, which affine alone takes".into()
            } else {
                "the statistics come from the input".into()
            });
        }
        match self {
            Self::Resident if Columns::to_hold(plan, device).is_some() => None,
            Self::Resident => shares_rows(plan, device)
                .or_else(|| group_beyond_binding(plan, device))
                .or_else(|| group_beyond(device.resident_packs(), plan)),
            Self::Streaming => shares_rows(plan, device).or_else(|| group_beyond_binding(plan, device)).or_else(|| {
                let iterations = streaming_iterations(plan, device, 1);
                (iterations > MOST_ITERATIONS).then(|| {
                    format!("a lane would take {iterations} iterations, {MOST_ITERATIONS} are safe on every driver")
                })
            }),
            Self::Split | Self::Affine => None,
            Self::Column if plan.view.b < 2 => Some("a group is one row, so there are no columns".into()),
            Self::Column => {
                let columns = (plan.view.c as u64).saturating_mul(plan.view.d as u64);
                let partials = Partials::of_columns(plan, device);
                let iterations = partials.count.div_ceil(partials.team.into());
                if columns > MOST_STEPS {
                    return Some(format!("there are {columns} columns, {MOST_STEPS} are counted"));
                }
                (iterations > MOST_ITERATIONS).then(|| {
                    format!("a lane would merge {iterations} partials, {MOST_ITERATIONS} are safe on every driver")
                })
            }
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

/// How far kernels count: in 32 bits, with steps of 2^16 at most, so that no counter wraps around.
pub(super) const MOST_STEPS: u64 = (u32::MAX - (1 << 16)) as u64;

/// The strategy for a plan.
///
/// What fixes the order of a reduction depends on the length of a group, the storage type and the device, and by
/// columns on how many groups lie side by side. How many samples there are decides only between streaming and split, which
/// give the same bits.
#[must_use]
pub fn choose(plan: &Plan, device: &Capabilities) -> Strategy {
    let view = plan.view;
    let serves = |strategy: Strategy| strategy.supports(plan, device).is_ok();
    // With a residual the resident kernel saves a pass over both.
    let is_held = plan.residual || packs(view) <= device.packs_worth_holding(plan.dtype);
    let are_enough = view.statistics() as u64 >= device.enough_groups() || device.caches(packs(view));
    if serves(Strategy::Affine) {
        Strategy::Affine
    } else if Columns::to_hold(plan, device).is_some() && serves(Strategy::Resident) {
        Strategy::Resident
    } else if are_columns(view) && serves(Strategy::Column) {
        Strategy::Column
    } else if serves(Strategy::Resident) && (is_held || !serves(Strategy::Streaming)) {
        Strategy::Resident
    } else if are_enough && serves(Strategy::Streaming) {
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
    } else if Columns::to_hold_gradient(plan, device).is_some() && serves(Strategy::Resident) {
        Strategy::Resident
    } else if are_columns(view) && serves(Strategy::Column) {
        Strategy::Column
    } else if serves(Strategy::Resident) {
        Strategy::Resident
    } else {
        Strategy::Split
    }
}

/// The strategy for a plan whose statistics are reduced, merged and applied by a kernel each.
#[must_use]
pub(super) fn in_steps(plan: &Plan, device: &Capabilities) -> Strategy {
    let by_columns = are_columns(plan.view) && Strategy::Column.supports(plan, device).is_ok();
    if by_columns { Strategy::Column } else { Strategy::Split }
}

/// Whether groups lie side by side, in rows too short to be read one by one.
fn are_columns(view: View) -> bool {
    view.d < SHORT_ROW && view.c > 1
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

fn mixes(plan: &Plan) -> Option<String> {
    plan.source.mixing().map(|_| "statistics are mixed before they are applied".to_owned())
}

fn shares_rows(plan: &Plan, device: &Capabilities) -> Option<String> {
    rows_share_words(plan, plan.view.d as u64, device)
        .then(|| format!("rows of {} packed {} elements share words with their neighbours", plan.view.d, plan.dtype))
}

fn group_beyond(most: u64, plan: &Plan) -> Option<String> {
    let packs = packs(plan.view);
    (packs > most).then(|| format!("a group is {packs} packs of four elements, {most} are held"))
}

/// Whether a group is not seen by one binding, or so few side by side that each few were a dispatch.
fn group_beyond_binding(plan: &Plan, device: &Capabilities) -> Option<String> {
    let (view, size) = (plan.view, plan.dtype.size() as u64);
    let [_, b, c, d] = levels(view);
    let of_groups = |c| Box4 { from: [0; 4], to: [1, b, c, d] };
    let bytes = |groups: &Box4| groups.span(view).end * size;
    let (group, all) = (of_groups(1), of_groups(c));
    let is_seen = window_fits(plan, device, view, &group)
        && parameters_fit(plan, device, &Ground::of(plan).parameters(&group))
        && (bytes(&group) <= device.max_binding / 2 || c == 1 || window_fits(plan, device, view, &all));
    (!is_seen).then(|| format!("a group spans {} bytes, a binding {}", bytes(&group), device.max_binding))
}

/// Groups that a team streams together: as many as wanted, if a lane's iterations allow, or one.
#[must_use]
pub fn streamed_together(plan: &Plan, device: &Capabilities, wanted: u64) -> u64 {
    if streaming_iterations(plan, device, wanted) <= MOST_ITERATIONS { wanted } else { 1 }
}

/// Iterations of a lane of a team that takes so many groups.
fn streaming_iterations(plan: &Plan, device: &Capabilities, groups: u64) -> u64 {
    let partials = Partials::of_groups(plan, device);
    let team = u64::from(partials.team);
    let a_pass = packs(plan.view).div_ceil(team) + partials.count;
    let a_gathering = u64::from(partials.team.ilog2());
    let of_one = 2 * a_pass + (partials.count + 1) * (1 + a_gathering);
    // Each pack is one more, beside those of its groups.
    groups * of_one + if groups > 1 { a_pass } else { 0 }
}
