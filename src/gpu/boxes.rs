//! Boxes of a view, and cutting them until each fits what a dispatch can be given.

use crate::plan::View;
use std::ops::Range;

/// A range of each level of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Box4 {
    /// Where it begins, level by level.
    pub(crate) from: [u64; 4],
    /// Where it ends.
    pub(crate) to: [u64; 4],
}

impl Box4 {
    /// The whole view.
    pub(crate) fn whole(view: View) -> Self {
        Self { from: [0; 4], to: levels(view) }
    }

    /// How far it reaches on a level.
    pub(crate) fn extent(&self, level: usize) -> u64 {
        self.to[level] - self.from[level]
    }

    /// The elements of memory from its first to its last, others in between included.
    pub(crate) fn span(&self, view: View) -> Range<u64> {
        let last = std::array::from_fn(|level| self.to[level] - 1);
        flat(view, self.from)..flat(view, last) + 1
    }

    /// Whether nothing else lies in between.
    pub(crate) fn is_contiguous(&self, view: View) -> bool {
        let span = self.span(view);
        span.end - span.start == (0..4).map(|level| self.extent(level)).product::<u64>()
    }

    /// Cuts the box, outermost level first, at multiples of `granule`, until every piece fits.
    /// `None` when a piece of one granule a level still does not.
    pub(crate) fn cut(self, granule: [u64; 4], fits: &dyn Fn(&Self) -> bool) -> Option<Vec<Self>> {
        let mut pieces = Vec::new();
        self.cut_into(granule, fits, &mut pieces).then_some(pieces)
    }

    /// The same, where no piece reaches from one period of the outermost level into the next.
    pub(crate) fn cut_within(self, period: u64, granule: [u64; 4], fits: &dyn Fn(&Self) -> bool) -> Option<Vec<Self>> {
        let mut pieces = Vec::new();
        let mut from = self.from[0];
        while from < self.to[0] {
            let to = ((from / period + 1) * period).min(self.to[0]);
            if !self.with(0, from, to).cut_into(granule, fits, &mut pieces) {
                return None;
            }
            from = to;
        }
        Some(pieces)
    }

    fn cut_into(self, granule: [u64; 4], fits: &dyn Fn(&Self) -> bool, pieces: &mut Vec<Self>) -> bool {
        if fits(&self) {
            pieces.push(self);
            return true;
        }
        let Some(level) = (0..4).find(|&level| self.extent(level) > granule[level]) else { return false };
        let step = self.largest_fitting(level, granule[level], fits) * granule[level];
        let mut from = self.from[level];
        while from < self.to[level] {
            let to = (from + step).min(self.to[level]);
            if !self.with(level, from, to).cut_into(granule, fits, pieces) {
                return false;
            }
            from = to;
        }
        true
    }

    /// The most granules of a level that fit together, at least one.
    fn largest_fitting(&self, level: usize, granule: u64, fits: &dyn Fn(&Self) -> bool) -> u64 {
        let fit = |granules: u64| fits(&self.with(level, self.from[level], self.from[level] + granules * granule));
        let (mut low, mut high) = (1, self.extent(level).div_ceil(granule));
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            if fit(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The same box with another range on one level.
    pub(crate) fn with(mut self, level: usize, from: u64, to: u64) -> Self {
        self.from[level] = from;
        self.to[level] = to;
        self
    }
}

/// The levels as an array.
pub(crate) fn levels(view: View) -> [u64; 4] {
    [view.a as u64, view.b as u64, view.c as u64, view.d as u64]
}

/// The place of an element in memory.
fn flat(view: View, [a, b, c, d]: [u64; 4]) -> u64 {
    let [_, b_len, c_len, d_len] = levels(view);
    ((a * b_len + b) * c_len + c) * d_len + d
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every element of the box lies in exactly one piece.
    fn assert_covers(view: View, granule: [u64; 4], limit: u64) {
        let fits = |piece: &Box4| piece.span(view).end - piece.span(view).start <= limit;
        let pieces = Box4::whole(view).cut(granule, &fits).expect("pieces of one granule fit");
        let mut seen = vec![0; view.elements()];
        for piece in &pieces {
            assert!(fits(piece), "{piece:?} spans more than {limit}");
            for a in piece.from[0]..piece.to[0] {
                for b in piece.from[1]..piece.to[1] {
                    for c in piece.from[2]..piece.to[2] {
                        for d in piece.from[3]..piece.to[3] {
                            seen[usize::try_from(flat(view, [a, b, c, d])).expect("small")] += 1;
                        }
                    }
                }
            }
        }
        assert!(seen.iter().all(|&n| n == 1), "{view:?} {granule:?} {limit}: {seen:?}");
    }

    #[test]
    fn pieces_cover_the_box_once() {
        for view in [View::new(3, 4, 5, 6), View::new(1, 7, 1, 9), View::new(1, 1, 1, 50), View::new(20, 1, 1, 3)] {
            for limit in [6, 7, 30, 31, 120, 1000] {
                assert_covers(view, [1, 1, 1, 4], limit);
            }
        }
    }

    #[test]
    fn pieces_within_periods_are_as_large_as_fits() {
        let fits = |piece: &Box4| piece.extent(0) <= 8;
        let pieces = Box4::whole(View::new(18, 1, 1, 2)).cut_within(9, [1, 1, 1, 2], &fits);
        let ranges: Option<Vec<_>> = pieces.map(|all| all.iter().map(|piece| [piece.from[0], piece.to[0]]).collect());
        assert_eq!(ranges, Some(vec![[0, 8], [8, 9], [9, 17], [17, 18]]), "two of each period");
    }

    #[test]
    fn what_cannot_be_cut_is_reported() {
        let view = View::new(1, 1, 1, 50);
        let fits = |piece: &Box4| piece.extent(3) <= 10;
        assert_eq!(Box4::whole(view).cut([1, 1, 1, 20], &fits), None);
    }
}
