//! Results that go to memory past the caches. An ordinary store has its line read first, and a tensor that no cache holds
//! is gone from them before anybody asks for it: so a third of forward's traffic, and a quarter of backward's, is for
//! nothing.

use super::element::Element;
use bytemuck::Pod;
use std::sync::LazyLock;

/// Bytes of the largest cache where the processor does not say.
const UNKNOWN_CACHE: usize = 32 << 20;

/// Bytes that are stored at once at least. Rows of 64 bytes took 1.25 times as long this way, each by itself.
const LEAST_RUN: usize = 256;

/// Bytes of a shared cache above which it is that of many processors, and what one program's few threads find theirs of it.
/// (Two threads of a Sapphire Rapids with 260 MiB: `[64, 65536]` backward took 4.3 to 5.0 ms and takes 3.0 to 4.0; of 12 MiB a
/// tensor the caches keep enough.)
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

/// A task's way to memory past the caches. Other threads see what was stored once it is dropped.
#[derive(Debug)]
pub(super) struct PastCaches(());

impl PastCaches {
    /// Whether so many elements should take that way, which are written in runs of so many: no cache holds them, and runs
    /// are whole vectors, and not few.
    pub(super) fn pays<T: Element>(elements: usize, run: usize, writing: Writing) -> bool {
        let of_run = run * size_of::<T>();
        cfg!(target_arch = "x86_64")
            && of_run >= LEAST_RUN
            && of_run.is_multiple_of(size_of::<Vector>())
            && elements * size_of::<T>() >= least_bytes(writing)
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
    // reads what is borrowed here before the borrowing task ends, and dropping `PastCaches`, which does not outlive it,
    // puts a fence in between. ln_llm forward takes 1.2 times as long without, see docs/performance.md.
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
