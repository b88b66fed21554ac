use rayon::prelude::*;

/// Elements that a task should have at least, so that handing it out is not what takes the time.
pub(super) const TASK: usize = 16 * 1024;

/// Fewer elements than these do not wake threads: they take one thread no longer than it takes two to meet.
const SERIAL: usize = 96 * 1024;

/// Threads for a tensor of this size. Small ones do not even ask rayon, which would start its pool. Where no thread can
/// be started, as in a browser, rayon has the calling one alone.
pub(super) fn threads(elements: usize) -> usize {
    if elements < SERIAL { 1 } else { rayon::current_num_threads() }
}

/// Calls `f` with the index and each chunk of `len` elements, on several threads where there are some.
pub(super) fn each_chunk<T: Send>(threads: usize, data: &mut [T], len: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    each(threads, data.chunks_mut(len).enumerate(), |(i, chunk)| f(i, chunk));
}

/// Calls `f` with each task, on several threads where there are some.
pub(super) fn each<T: Send>(threads: usize, tasks: impl IntoIterator<Item = T>, f: impl Fn(T) + Sync) {
    // By its address: what it calls would else be compiled twice, for one thread and for several, a fifth of the crate.
    let f: &(dyn Fn(T) + Sync) = &f;
    if threads > 1 {
        tasks.into_iter().collect::<Vec<T>>().into_par_iter().for_each(f);
    } else {
        tasks.into_iter().for_each(f);
    }
}

/// As [`each`], with what `make` makes for some tasks that one thread takes one after the other.
pub(super) fn each_with<T: Send, S>(
    threads: usize,
    tasks: impl IntoIterator<Item = T>,
    make: impl Fn() -> S + Sync,
    f: impl Fn(&mut S, T) + Sync,
) {
    let f: &(dyn Fn(&mut S, T) + Sync) = &f;
    if threads > 1 {
        tasks.into_iter().collect::<Vec<T>>().into_par_iter().for_each_init(&make, f);
    } else {
        let mut made = make();
        tasks.into_iter().for_each(|task| f(&mut made, task));
    }
}

/// What `f` makes of each number below `count`, on several threads where there are some.
pub(super) fn map_each<T: Send>(threads: usize, count: usize, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let f: &(dyn Fn(usize) -> T + Sync) = &f;
    if threads > 1 { (0..count).into_par_iter().map(f).collect() } else { (0..count).map(f).collect() }
}

/// Pairs the chunks of `a` and `b` with their index; there are equally many.
pub(super) fn zip_chunks<'d, A, B>(
    a: &'d mut [A],
    a_len: usize,
    b: &'d mut [B],
    b_len: usize,
) -> impl Iterator<Item = (usize, &'d mut [A], &'d mut [B])> {
    a.chunks_mut(a_len).zip(b.chunks_mut(b_len)).enumerate().map(|(i, (a, b))| (i, a, b))
}
