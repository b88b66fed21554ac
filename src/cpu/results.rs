//! Results on their way from registers to memory.

use super::element::Element;
use super::past_caches::PastCaches;
use std::ops::Range;

/// Neighbouring results, which are worked out where they are wanted.
pub(super) trait Results {
    /// Writes those of the elements `at` to `to`, which is as long. Every element is asked for once, and after those before it.
    fn work_out(&mut self, at: Range<usize>, to: &mut [f32]);
}

/// Writes all `results`: past the caches as they leave the registers, unless they are narrowed; else, or where there is no way
/// `past`, in blocks of at most what `buffer` holds.
#[inline(always)]
pub(super) fn write<T: Element>(
    mut results: impl Results,
    to: &mut [T],
    buffer: &mut [f32],
    past: Option<&PastCaches>,
) {
    if let Some((to, past)) = T::straight(&mut *to, past) {
        past.store_worked_out(to, results);
        return;
    }
    let mut at = 0;
    for to in to.chunks_mut(buffer.len()) {
        let y = T::target(to, buffer, past);
        results.work_out(at..at + y.len(), y);
        at += y.len();
        T::finish(to, buffer, past);
    }
}
