//! Memory that is asked for before its turn comes. While results are written nothing new is read, and while statistics
//! are taken nothing is written: left to the processor's own prefetchers, which look no further than a page, memory waits
//! half of the time.

use super::past_caches::PastCaches;
use crate::plan::View;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Elements that are worked on while as many others are on their way.
pub(super) const STEP: usize = 128;

/// Tensors of fewer bytes may be in a cache already, where asking costs more than it saves. (Two threads of a Zen 3 with 8 MiB
/// of shared cache.)
const LEAST_BYTES: usize = 3 << 20;

/// Larger groups push each other out of the caches: on that machine those of 1 MiB were slower, of 256 KiB faster.
const MOST_BYTES: usize = 256 << 10;

/// Groups a thread at least, whose last asks for what is another's.
const LEAST_GROUPS: usize = 8;

/// Whether memory is asked for ahead where elements of type `T` are taken group by group.
pub(super) fn pays<T>(view: View, threads: usize) -> bool {
    cfg!(target_arch = "x86_64")
        && view.elements() * size_of::<T>() >= LEAST_BYTES
        && view.count() * size_of::<T>() <= MOST_BYTES
        && view.statistics() >= LEAST_GROUPS * threads
}

/// Elements that will be read or written next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ahead {
    first: *const u8,
    width: usize,
}

impl Ahead {
    #[inline(always)]
    pub(super) fn of<T>(elements: &[T]) -> Self {
        Self { first: elements.as_ptr().cast(), width: size_of::<T>() }
    }

    /// Those that lie `by` elements beyond, whatever is there.
    #[inline(always)]
    pub(super) fn skip(self, by: usize) -> Self {
        Self { first: self.first.wrapping_add(by * self.width), ..self }
    }

    /// Asks for the first `len` of them.
    #[inline(always)]
    pub(super) fn ask(self, len: usize) {
        let mut byte = 0;
        while byte < len * self.width {
            prefetch(self.first.wrapping_add(byte));
            byte += LINE;
        }
    }
}

/// What is read after `input`, or after the `output` that holds it; and the output, where it neither holds the input nor goes
/// `past` the caches.
#[inline(always)]
pub(super) fn beyond<T>(input: Option<&[T]>, output: &[T], past: Option<&PastCaches>) -> [Option<Ahead>; 2] {
    let next = Ahead::of(input.unwrap_or(output)).skip(output.len());
    [Some(next), (input.is_some() && past.is_none()).then(|| Ahead::of(output))]
}

/// Has the line at `address` brought into a cache, if there is one.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn prefetch(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing and faults nowhere, whatever the address: it changes the time that an access
    // takes, and nothing else. ln_bert takes 1.4 times as long without, see docs/performance.md.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn prefetch(_: *const u8) {}
