//! A plan cut into plans of neighbouring pieces of its tensor, for tensors that are not in memory as a whole.

use super::{Cells, Plan, Sharing, Source, View};
use std::ops::Range;

/// Rows that backends sum up before they merge: pieces of whole ones have the moments that these rows have in the whole
/// tensor.
pub(crate) const PIECE_BLOCK: usize = 512;

/// How a plan is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    along: Level,
    /// Steps of the level.
    steps: usize,
    /// Elements of a step, all of which lie together.
    step: usize,
    /// Steps after which parameters begin anew, or others begin.
    period: usize,
}

/// The level whose steps are dealt out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// The outer kept one: pieces have groups of their own.
    A,
    /// The outer reduced one: all pieces have a share in all groups.
    B,
    /// The inner kept one, where there is nothing outside of it.
    C,
}

/// A piece of a plan's tensor, as a plan of its own.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    pub(crate) plan: Plan,
    /// Which of the parameters belong to it, where not all do.
    pub(crate) parameters: Option<Range<usize>>,
    /// Which of the samples that have labels.
    pub(crate) labels: Range<usize>,
    /// Which of the running estimates.
    pub(crate) running: Range<usize>,
}

impl Cut {
    /// How to cut a plan, or `None` where it takes the whole tensor at once: where statistics are mixed of those of all
    /// samples, where running estimates follow an average over groups of several pieces, where a residual is added, where
    /// parameters are made or thresholds learned and all pieces share statistics of the input, and where there is no more than
    /// one step.
    pub(crate) fn of(plan: &Plan) -> Option<Self> {
        let View { a, b, c, d } = plan.view;
        if plan.view.elements() == 0 || plan.residual || plan.source.mixing().is_some() {
            return None;
        }
        let follows = plan.source.running_update().is_some();
        let is_plain = plan.derivation.is_none() && !plan.extra.any();
        let map = plan.affine.map;
        if a > 1 {
            let channels = plan.running_len().map_or(1, |channels| (channels / c).max(1));
            let parameters = if map.a_scale == 0 { 1 } else { map.a_modulus };
            let period = if channels > 1 { channels } else { parameters };
            return (!follows).then_some(Self { along: Level::A, steps: a, step: b * c * d, period });
        }
        if b > 1 {
            let period = if map.b_scale == 0 { 1 } else { map.b_divisor };
            let is_possible = !plan.statistics_follow_input() || is_plain;
            return is_possible.then_some(Self { along: Level::B, steps: b, step: c * d, period });
        }
        let is_possible = is_plain && plan.running_len().is_none() && c > 1;
        is_possible.then_some(Self { along: Level::C, steps: c, step: d, period: 1 })
    }

    /// Whether all pieces have to be measured before one can be normalized.
    pub(crate) fn shares_statistics(self, plan: &Plan) -> bool {
        self.along == Level::B && plan.statistics_follow_input()
    }

    /// The pieces as ranges of steps, of about so many elements, but a step at least. Each is whole periods, or lies
    /// within one.
    pub(crate) fn pieces(self, elements: usize) -> impl Iterator<Item = Range<usize>> {
        let most = (elements / self.step).max(1);
        let block =
            if self.along == Level::B && self.period == 1 && most >= PIECE_BLOCK { PIECE_BLOCK } else { self.period };
        let whole = most / block * block;
        let mut first = 0;
        std::iter::from_fn(move || {
            let left = self.steps - first;
            let len = if whole > 0 { whole } else { most.min(self.period - first % self.period) };
            let piece = first..first + len.min(left);
            first = piece.end;
            (!piece.is_empty()).then_some(piece)
        })
    }

    /// Steps of the whole tensor.
    pub(crate) fn steps(self) -> usize {
        self.steps
    }

    /// Whether some steps are whole periods, or lie within one.
    pub(crate) fn is_piece(self, steps: &Range<usize>) -> bool {
        let (first, last) = (steps.start / self.period, (steps.end - 1) / self.period);
        let ends = |step: usize| step.is_multiple_of(self.period) || step == self.steps;
        first == last || (ends(steps.start) && ends(steps.end))
    }

    /// The elements of some steps.
    pub(crate) fn elements(self, steps: &Range<usize>) -> Range<usize> {
        steps.start * self.step..steps.end * self.step
    }

    /// The plan of some steps: of whole periods, or within one.
    pub(crate) fn part(self, plan: &Plan, steps: &Range<usize>) -> Part {
        let mut part = Part {
            parameters: None,
            labels: 0..plan.labels().unwrap_or(0),
            running: 0..plan.running_len().unwrap_or(0),
            plan: plan.clone(),
        };
        match self.along {
            Level::A => part.cut_a(steps),
            Level::B => part.cut_b(steps),
            Level::C => part.cut_c(steps),
        }
        // Backward passes alone ask for these, and pieces have none.
        part.plan.affine.cells = Cells::groups(part.plan.view);
        if self.shares_statistics(plan) {
            // They follow all pieces together, once.
            part.plan.source = Source::Input { running: None };
            part.running = 0..0;
        } else {
            part.plan.sharing = Sharing::Own;
        }
        part
    }
}

impl Part {
    fn cut_a(&mut self, steps: &Range<usize>) {
        let plan = &mut self.plan;
        let c = plan.view.c;
        plan.view.a = steps.len();
        let map = &mut plan.affine.map;
        if let Some(own) = within(steps, map.a_modulus).filter(|_| map.a_scale > 0) {
            map.a_modulus = own.len();
            let parameters = own.start * map.a_scale..own.end * map.a_scale;
            map.len = parameters.len();
            self.parameters = Some(parameters);
        }
        if let Source::Running { channels } = &mut plan.source
            && let Some(own) = within(steps, (*channels / c).max(1))
        {
            self.running = own.start * c..own.end * c;
            *channels = self.running.len();
        }
        if let Some(derivation) = &mut plan.derivation {
            derivation.width = map.len;
        }
    }

    fn cut_b(&mut self, steps: &Range<usize>) {
        let plan = &mut self.plan;
        plan.view.b = steps.len();
        let map = &mut plan.affine.map;
        if map.b_scale == 0 {
            return;
        }
        let rows = steps.start / map.b_divisor..steps.end.div_ceil(map.b_divisor);
        map.len = rows.len() * map.b_scale;
        match &mut plan.derivation {
            // Labels pick each row's parameters from tables, which stay whole.
            Some(derivation) => {
                derivation.rows = rows.len();
                self.labels = rows;
            }
            None => self.parameters = Some(rows.start * map.b_scale..rows.end * map.b_scale),
        }
    }

    fn cut_c(&mut self, steps: &Range<usize>) {
        let plan = &mut self.plan;
        plan.view.c = steps.len();
        let map = &mut plan.affine.map;
        if map.c_scale > 0 {
            map.len = steps.len() * map.c_scale;
            self.parameters = Some(steps.start * map.c_scale..steps.end * map.c_scale);
        }
    }
}

/// The steps within their period, where they do not fill whole ones.
fn within(steps: &Range<usize>, period: usize) -> Option<Range<usize>> {
    let first = steps.start % period;
    let end = first + steps.len();
    (end <= period && steps.len() < period).then_some(first..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(steps: usize, step: usize, period: usize) -> Cut {
        Cut { along: Level::A, steps, step, period }
    }

    #[test]
    fn pieces_are_whole_periods_or_lie_within_one() {
        for (cut, elements, want) in [
            (cut(7, 10, 1), 30, vec![0..3, 3..6, 6..7]),
            (cut(7, 10, 1), 5, vec![0..1, 1..2, 2..3, 3..4, 4..5, 5..6, 6..7]),
            (cut(12, 1, 3), 7, vec![0..6, 6..12]),
            (cut(10, 1, 5), 3, vec![0..3, 3..5, 5..8, 8..10]),
            (Cut { along: Level::B, ..cut(1500, 1, 1) }, 1100, vec![0..1024, 1024..1500]),
        ] {
            assert_eq!(cut.pieces(elements).collect::<Vec<_>>(), want, "{cut:?} of {elements}");
        }
    }

    #[test]
    fn steps_within_a_period_are_named_from_its_beginning() {
        assert_eq!(within(&(8..10), 5), Some(3..5));
        assert_eq!(within(&(5..10), 5), None, "a whole one");
        assert_eq!(within(&(0..1), 1), None, "a whole one");
    }
}
