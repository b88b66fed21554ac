use super::{GroupSums, Moments, Plan};
use crate::error::Result;
use std::fmt::Debug;

/// The moments of some values in each group.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Shard {
    /// Values in each group.
    pub(crate) count: f64,
    /// Their means and biased variances.
    pub(crate) moments: Moments,
}

/// Where a plan's statistics are shared by several executors, the others as one of them sees them.
pub(crate) trait Peers: Debug + Sync {
    /// The moments of everybody's values, from one's own.
    fn merged(&self, plan: &Plan, own: Shard) -> Result<Shard>;

    /// Everybody's sums over groups, from one's own, as if the groups had no more elements than one's own: divided
    /// by one's own count they are what everybody's are by the count of all.
    fn summed(&self, plan: &Plan, own: GroupSums) -> Result<GroupSums>;
}
