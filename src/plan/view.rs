use crate::error::{Error, Result};

/// A contiguous tensor as `[a, b, c, d]` = keep, reduce, keep, reduce.
///
/// Statistic `i_a * c + i_c` covers the `b * d` elements with that `i_a` and `i_c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct View {
    /// The outer kept level.
    pub a: usize,
    /// The outer reduced level.
    pub b: usize,
    /// The inner kept level.
    pub c: usize,
    /// The inner reduced level.
    pub d: usize,
}

impl View {
    /// The view with these levels.
    #[must_use]
    pub const fn new(a: usize, b: usize, c: usize, d: usize) -> Self {
        Self { a, b, c, d }
    }

    /// Elements of the tensor; a product that overflows is the greatest number there is.
    #[must_use]
    pub const fn elements(self) -> usize {
        // A zero level counts, however long the others are.
        if self.a == 0 || self.b == 0 || self.c == 0 || self.d == 0 {
            return 0;
        }
        self.a.saturating_mul(self.b).saturating_mul(self.c).saturating_mul(self.d)
    }

    /// Elements that share a statistic.
    #[must_use]
    pub const fn count(self) -> usize {
        self.b.saturating_mul(self.d)
    }

    /// Number of statistics.
    #[must_use]
    pub const fn statistics(self) -> usize {
        self.a.saturating_mul(self.c)
    }

    /// Merges neighbouring axes of the same kind into the four levels.
    ///
    /// # Errors
    ///
    /// When kept and reduced axes alternate more often than four levels can hold.
    pub(crate) fn collapse(shape: &[usize], reduced: &[bool]) -> Result<Self> {
        let mut levels = [1usize; 4];
        let mut level = 0;
        for (&axis, &reduce) in shape.iter().zip(reduced) {
            if axis == 1 {
                continue;
            }
            let reduces = level % 2 == 1;
            if reduces != reduce {
                level += 1;
            }
            let Some(merged) = levels.get_mut(level) else {
                return Err(Error::Shape {
                    argument: "axes",
                    got: shape.to_vec(),
                    expected: "kept and reduced axes that alternate as keep, reduce, keep, reduce at most".into(),
                });
            };
            *merged = merged.saturating_mul(axis);
        }
        let [a, b, c, d] = levels;
        // A single reduced run is innermost: `d`, not `b`.
        Ok(if c == 1 && d == 1 { Self::new(a, 1, 1, b) } else { Self::new(a, b, c, d) })
    }
}

#[cfg(test)]
mod tests {
    use super::View;

    #[test]
    fn neighbours_of_a_kind_merge() {
        let cases: [(&[usize], &[bool], View); 6] = [
            (&[2, 3, 4], &[false, false, true], View::new(6, 1, 1, 4)),
            (&[2, 3, 4], &[false, true, true], View::new(2, 1, 1, 12)),
            (&[2, 3, 4, 5], &[false, true, false, false], View::new(2, 3, 20, 1)),
            (&[2, 3, 4, 5], &[true, false, true, true], View::new(1, 2, 3, 20)),
            (&[2, 1, 4], &[true, false, true], View::new(1, 1, 1, 8)),
            (&[2, 3], &[false, false], View::new(6, 1, 1, 1)),
        ];
        for (shape, reduced, view) in cases {
            assert_eq!(View::collapse(shape, reduced).as_ref(), Ok(&view), "{shape:?} {reduced:?}");
        }
    }

    #[test]
    fn a_fifth_alternation_is_refused() {
        let reduced = [false, true, false, true, false];
        assert!(View::collapse(&[2; 4], &reduced[..4]).is_ok(), "four levels hold four runs");
        assert!(View::collapse(&[2; 5], &reduced).is_err(), "a fifth run has no level");
    }
}
