//! The block that is drawn, and what a plan says of its elements.

use wgpu_norm::plan::{Plan, View};

pub(crate) const SAMPLES: usize = 4;
pub(crate) const CHANNELS: usize = 6;
pub(crate) const POSITIONS: usize = 4;

/// An element of a tensor `[SAMPLES, CHANNELS, POSITIONS]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) sample: usize,
    pub(crate) channel: usize,
    pub(crate) position: usize,
}

impl Element {
    /// The one where the three visible faces meet, so that something of its group is seen on each.
    pub(crate) const CORNER: Self = Self { sample: 0, channel: CHANNELS - 1, position: 0 };

    /// All of them, as they lie in memory.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..SAMPLES * CHANNELS * POSITIONS).map(|flat| Self {
            sample: flat / (CHANNELS * POSITIONS),
            channel: flat / POSITIONS % CHANNELS,
            position: flat % POSITIONS,
        })
    }

    /// Whether the corner is normalized by the same statistic.
    pub(crate) fn shares_statistic_with_corner(self, view: View) -> bool {
        self.statistic(view) == Self::CORNER.statistic(view)
    }

    /// Whether the corner's weight and bias are picked by the same label; never where labels pick none.
    pub(crate) fn shares_label_with_corner(self, plan: &Plan) -> bool {
        plan.labels().is_some() && self.parameter_row(plan) == Self::CORNER.parameter_row(plan)
    }

    fn statistic(self, view: View) -> usize {
        let [a, _, c, _] = self.levels(view);
        a * view.c + c
    }

    fn parameter_row(self, plan: &Plan) -> Option<usize> {
        let [a, b, c, d] = self.levels(plan.view());
        plan.derivation().map(|derivation| plan.affine().map.index(a, b, c, d) / derivation.width)
    }

    /// Where the element is along keep, reduce, keep, reduce.
    fn levels(self, View { b, c, d, .. }: View) -> [usize; 4] {
        let flat = self.flat();
        [flat / (b * c * d), flat / (c * d) % b, flat / d % c, flat % d]
    }

    fn flat(self) -> usize {
        (self.sample * CHANNELS + self.channel) * POSITIONS + self.position
    }
}
