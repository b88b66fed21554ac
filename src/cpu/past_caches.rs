//! Results that go to memory past the caches. An ordinary store has its line read first, and a tensor that no cache holds
//! is gone from them before anybody asks for it: so a third of forward's traffic, and a quarter of backward's, is for
//! nothing. Results in f32 go as they leave the registers; those that are narrowed, and those that more happens to than an
//! affine, by way of a buffer.

use super::element::Element;
use super::results::Results;
use bytemuck::{Pod, Zeroable};
use std::sync::LazyLock;

/// Bytes of the largest cache where the processor does not say.
const UNKNOWN_CACHE: usize = 32 << 20;

/// Bytes that are stored at once at least. Rows of 64 bytes took 1.25 times as long this way, each by itself.
const LEAST_RUN: usize = 256;

/// Bytes of a shared cache above which it is that of many processors, and what one program's few threads find theirs of it.
/// (Two threads of an Emerald Rapids with 300 MiB: `[64, 65536]` backward takes 0.75 of the time; tensors of 8 MiB take up to 1.6
/// times as long, see docs/performance.md.)
const OF_MANY: usize = 64 << 20;
const SHARE_OF_MANY: usize = 16 << 20;

/// Bytes of the cache that processors share.
static SHARED_CACHE: LazyLock<usize> = LazyLock::new(|| shared_cache().unwrap_or(UNKNOWN_CACHE));

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writing {
    /// Into lines that were asked for while something else was done: nobody waits for these, but they take a cache's room.
    AskedFor,
    /// Into lines that are read first, as a store finds them missing.
    AsTheyCome,
}

/// Bytes of a tensor that no cache holds.
fn least_bytes(writing: Writing) -> usize {
    #[cfg(test)]
    if let Some(told) = LEAST_BYTES.get() {
        return told;
    }
    match writing {
        Writing::AsTheyCome if *SHARED_CACHE > OF_MANY => SHARE_OF_MANY,
        _ => *SHARED_CACHE,
    }
}

#[cfg(test)]
thread_local! {
    /// What a test says, of tensors that its thread normalizes.
    pub(super) static LEAST_BYTES: std::cell::Cell<Option<usize>> = const { std::cell::Cell::new(None) };
}

/// Whether runs of so many elements are whole vectors, and not few.
pub(super) fn takes<T: Element>(run: usize) -> bool {
    let bytes = run * size_of::<T>();
    bytes >= LEAST_RUN && bytes.is_multiple_of(size_of::<Vector>())
}

/// Elements in f32 of a cache line.
const LINE: usize = 16;

/// A cache line.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([Vector; LINE * size_of::<f32>() / size_of::<Vector>()]);

/// The way to memory past the caches, of one task or of several that one thread does in turn. Other threads see what was stored
/// once it is dropped.
#[derive(Debug)]
pub(super) struct PastCaches(());

impl PastCaches {
    /// Whether so many elements should take that way, which are written in runs of so many: no cache holds them, and runs
    /// are whole vectors, and not few.
    pub(super) fn pays<T: Element>(elements: usize, run: usize, writing: Writing) -> bool {
        cfg!(target_arch = "x86_64") && takes::<T>(run) && elements * size_of::<T>() >= least_bytes(writing)
    }

    /// Where `pays` says so.
    pub(super) fn when(pays: bool) -> Option<Self> {
        pays.then_some(Self(()))
    }

    /// Stores `from` in `to`, which is as long.
    #[inline(always)]
    pub(super) fn store<T: Pod>(&self, to: &mut [T], from: &[T]) {
        let (head, vectors, tail) = bytemuck::pod_align_to_mut::<T, Vector>(to);
        let (of_head, from) = from.split_at(head.len());
        let (of_vectors, of_tail) = from.split_at(from.len() - tail.len());
        head.copy_from_slice(of_head);
        tail.copy_from_slice(of_tail);
        for (to, from) in vectors.iter_mut().zip(of_vectors.chunks_exact(size_of::<Vector>() / size_of::<T>())) {
            store_vector(to, bytemuck::pod_read_unaligned(bytemuck::cast_slice(from)));
        }
    }

    /// Stores `results` as they leave the registers, a cache line at a time: a line that is stored in parts with others in between
    /// goes to memory more than once.
    #[inline(always)]
    pub(super) fn store_worked_out(&self, to: &mut [f32], mut results: impl Results) {
        let (head, lines, tail) = bytemuck::pod_align_to_mut::<f32, Line>(to);
        let mut at = head.len();
        self.store_less_than_a_line(head, 0, &mut results);
        for line in lines {
            // Nobody else's memory and no loop's, so the compiler needs none for it.
            let mut worked_out = [0.0; LINE];
            results.work_out(at..at + LINE, &mut worked_out);
            let Line(from) = bytemuck::cast(worked_out);
            for (to, from) in line.0.iter_mut().zip(from) {
                store_vector(to, from);
            }
            at += LINE;
        }
        self.store_less_than_a_line(tail, at, &mut results);
    }

    /// Stores those from `first` on.
    #[inline(always)]
    fn store_less_than_a_line(&self, to: &mut [f32], first: usize, results: &mut impl Results) {
        let mut worked_out = [0.0; LINE];
        let worked_out = &mut worked_out[..to.len()];
        results.work_out(first..first + to.len(), worked_out);
        self.store(to, worked_out);
    }
}

impl Drop for PastCaches {
    fn drop(&mut self) {
        fence();
    }
}

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::__m128i as Vector;

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn store_vector(to: &mut Vector, vector: Vector) {
    // SAFETY: a reference to a vector is aligned and may be written. Such a store is not ordered with others: nobody else
    // reads what is borrowed here before the tasks of all threads have ended, and dropping `PastCaches`, which each thread
    // does before that, puts a fence in between. ln_llm backward takes 1.5 times as long without, see docs/performance.md.
    unsafe { std::arch::x86_64::_mm_stream_si128(to, vector) };
}

#[cfg(target_arch = "x86_64")]
fn fence() {
    // SAFETY: every x86-64 processor has this instruction.
    unsafe { std::arch::x86_64::_mm_sfence() };
}

#[cfg(target_arch = "x86_64")]
fn shared_cache() -> Option<usize> {
    let caches = raw_cpuid::CpuId::new().get_cache_parameters()?;
    let bytes = |c: raw_cpuid::CacheParameter| {
        c.associativity() * c.physical_line_partitions() * c.coherency_line_size() * c.sets()
    };
    caches.map(bytes).max().filter(|bytes| *bytes > 0)
}

#[cfg(not(target_arch = "x86_64"))]
type Vector = u128;

#[cfg(not(target_arch = "x86_64"))]
fn store_vector(to: &mut Vector, vector: Vector) {
    *to = vector;
}

#[cfg(not(target_arch = "x86_64"))]
fn fence() {}

#[cfg(not(target_arch = "x86_64"))]
fn shared_cache() -> Option<usize> {
    None
}
