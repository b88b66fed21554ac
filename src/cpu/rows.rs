//! Statistics whose runs of `d` are long: blocks lie along the run.

use super::Job;
use super::ahead::{self, Ahead};
use super::element::Element;
use super::epilogue::Epilogue;
use super::moments::{Moments, Scale, float};
use super::parallel::{self, TASK};
use super::parameters::Parameters;
use super::past_caches::{self, PastCaches};
use super::pieces::{self, Pieces};
use super::row_apply::{Affine, ApplyRun};
use super::row_kernels::{BLOCK, BlockMoments};
use super::short_runs;
use crate::plan::View;

/// Blocks that one task sums up; it fixes the order of merging, so it depends on nothing.
const CHUNK: usize = 64;

/// A group that is larger may have left the cache when its moments are known.
const CACHED_BYTES: usize = 2 << 20;

/// Pieces of a group that are shorter cost more to keep apart than a second pass over memory.
const LEAST_PIECE_BYTES: usize = 512;

/// What a task needs for blocks.
#[derive(Debug)]
pub(super) struct Buffers {
    /// Room for a block, where it is not in f32 or in place.
    pub(super) wide: Vec<f32>,
    /// Room for its results, where they are not in f32 or go past the caches.
    pub(super) results: Vec<f32>,
    pub(super) past: Option<PastCaches>,
}

impl Buffers {
    /// As a job needs them for blocks of at most `len` elements: clearing others would take as long as a short row.
    pub(super) fn new<T: Element>(job: &Job<'_, T>, len: usize) -> Self {
        let room = |is_needed: bool| if is_needed { vec![0.0; len] } else { Vec::new() };
        Self {
            wide: room(!T::IS_F32 || job.input.is_none()),
            results: room(!T::IS_F32 || job.past_caches),
            past: job.past_caches(),
        }
    }

    /// For blocks of long runs.
    fn of<T: Element>(job: &Job<'_, T>) -> Self {
        Self::new(job, BLOCK.min(job.view.d))
    }
}

/// Normalizes with the input's own statistics, and returns them where they are wanted.
pub(super) fn normalize<T: Element>(job: &Job<'_, T>, output: &mut [T], wanted: bool) -> Vec<Moments> {
    let view = job.view;
    if short_runs::suit(view) {
        return short_runs::normalize(job, output, wanted);
    }
    let adjacent = view.b == 1 || view.c == 1;
    let enough = job.threads == 1 || view.statistics() >= 2 * job.threads;
    let cached = view.count() * size_of::<T>() <= CACHED_BYTES;
    if adjacent && cached && (enough || chunks(job) == 1) {
        return one_pass(job, output);
    }
    if !adjacent && cached && enough && view.d * size_of::<T>() >= LEAST_PIECE_BYTES {
        return one_pass_scattered(job, output);
    }
    let moments = all_moments(job, job.input.unwrap_or(output));
    let scales: Vec<Scale> = moments.iter().map(|&m| Scale::of(m, job.statistic, job.eps)).collect();
    apply(job, &scales, output);
    moments
}

/// Whether results of runs may go past the caches as they leave the registers.
pub(super) fn go_straight<T: Element>(view: View, parameters: &Parameters<'_>, epilogue: Epilogue) -> bool {
    let alike = parameters.map.d_divisor.min(view.d);
    let are_scaled_alone = parameters.tau.is_none() && epilogue.is_nothing();
    T::IS_F32 && !short_runs::suit(view) && are_scaled_alone && (alike == 1 || past_caches::takes::<T>(alike))
}

/// Normalizes with given scales.
pub(super) fn apply<T: Element>(job: &Job<'_, T>, scales: &[Scale], output: &mut [T]) {
    let view = job.view;
    parallel::each_with(
        job.threads,
        segments(job, output),
        || Buffers::of(job),
        |buffers, (begin, segment)| {
            let (mut at, end) = (begin, begin + segment.len());
            while at < end {
                let (run, from) = (at / view.d, at % view.d);
                let (a, b, c) = (run / view.c / view.b, run / view.c % view.b, run % view.c);
                let len = (view.d - from).min(end - at);
                let to = &mut segment[at - begin..at - begin + len];
                apply_run(job, (a, b, c, from), to, scales[a * view.c + c], None, buffers);
                at += len;
            }
        },
    );
}

/// The output cut up, and the element that each segment begins with. Of long runs that share parameters the same segments
/// follow each other, so these come from memory once.
fn segments<'o, T>(job: &Job<'_, T>, output: &'o mut [T]) -> Vec<(usize, &'o mut [T])> {
    let d = job.view.d;
    let shares = job.parameters.map.d_divisor < d && job.parameters.same_for_every_run();
    if d < TASK || !shares {
        return output.chunks_mut(TASK).enumerate().map(|(i, segment)| (i * TASK, segment)).collect();
    }
    let len = d.div_ceil(d.div_ceil(TASK));
    let of_run = |(run, data): (usize, &'o mut [T])| {
        data.chunks_mut(len).enumerate().map(move |(i, segment)| (run * d + i * len, segment))
    };
    let mut segments: Vec<_> = output.chunks_mut(d).enumerate().flat_map(of_run).collect();
    segments.sort_by_key(|(begin, _)| begin % d);
    segments
}

fn one_pass<T: Element>(job: &Job<'_, T>, output: &mut [T]) -> Vec<Moments> {
    let (count, d) = (job.view.count(), job.view.d);
    let groups = (TASK / count).max(1);
    let mut moments = vec![Moments::NONE; job.view.statistics()];
    let tasks = parallel::zip_chunks(output, groups * count, &mut moments, groups);
    parallel::each_with(
        job.threads,
        tasks,
        || Buffers::of(job),
        |buffers, (task, outputs, moments)| {
            for (i, (data, moments)) in outputs.chunks_mut(count).zip(moments).enumerate() {
                let mut pieces = Pieces::Adjacent { data, stride: d };
                *moments = normalize_group(job, task * groups + i, &mut pieces, buffers);
            }
        },
    );
    moments
}

fn one_pass_scattered<T: Element>(job: &Job<'_, T>, output: &mut [T]) -> Vec<Moments> {
    let view = job.view;
    let mut moments = vec![Moments::NONE; view.statistics()];
    let groups = pieces::bands(output, view.b, view.c * view.d, view.d);
    let tasks = groups.into_iter().zip(&mut moments).enumerate();
    parallel::each_with(
        job.threads,
        tasks,
        || Buffers::of(job),
        |buffers, (group, (mut pieces, moments))| {
            *moments = normalize_group(job, group, &mut pieces, buffers);
        },
    );
    moments
}

/// How many elements beyond those of a group at `c` the same ones of the next group lie.
pub(super) fn to_next_group(view: View, c: usize) -> usize {
    if c + 1 < view.c { view.d } else { ((view.b - 1) * view.c + 1) * view.d }
}

fn normalize_group<T: Element>(
    job: &Job<'_, T>,
    group: usize,
    pieces: &mut Pieces<'_, T>,
    buffers: &mut Buffers,
) -> Moments {
    let view = job.view;
    let (a, c) = (group / view.c, group % view.c);
    let asks_ahead = ahead::pays::<T>(view, job.threads);
    let moments = group_moments(job, buffers, |b| {
        let output = pieces.get(b, 0..view.d);
        match job.input {
            Some(input) => Run {
                elements: &input[((a * view.b + b) * view.c + c) * view.d..][..view.d],
                output: (asks_ahead && !job.past_caches).then(|| Ahead::of(output)),
            },
            None => Run { elements: output, output: None },
        }
    });
    let scale = Scale::of(moments, job.statistic, job.eps);
    let next_by = (asks_ahead && group + 1 < view.statistics()).then(|| to_next_group(view, c));
    for b in 0..view.b {
        apply_run(job, (a, b, c, 0), pieces.get_mut(b, 0..view.d), scale, next_by, buffers);
    }
    moments
}

fn apply_run<T: Element>(
    job: &Job<'_, T>,
    (a, b, c, from): (usize, usize, usize, usize),
    output: &mut [T],
    scale: Scale,
    next_by: Option<usize>,
    buffers: &mut Buffers,
) {
    let view = job.view;
    let start = ((a * view.b + b) * view.c + c) * view.d + from;
    job.simd.dispatch(ApplyRun {
        input: job.input.map(|x| &x[start..start + output.len()]),
        output,
        scale,
        affine: affine(job, (a, b, c)),
        from,
        next_by,
        straight: job.straight,
        buffers,
    });
}

/// What happens to the elements of a run.
#[inline(always)]
pub(super) fn affine<'j, T>(job: &'j Job<'_, T>, (a, b, c): (usize, usize, usize)) -> Affine<'j> {
    let Parameters { weight, bias, has_bias, tau, map, .. } = &job.parameters;
    let first = map.index(a, b, c, 0);
    Affine {
        weight: &weight[first..],
        bias: &bias[first..],
        has_bias: *has_bias,
        tau: tau.as_ref().map(|tau| &tau[first..]),
        // A run of one has one parameter, as those by columns do.
        divisor: if job.view.d == 1 { usize::MAX } else { map.d_divisor },
        folds: job.parameters.are_those_of_many_rows(),
        epilogue: job.epilogue,
    }
}

/// Chunks of blocks that a group is summed in.
fn chunks<T>(job: &Job<'_, T>) -> usize {
    (job.view.b * job.view.d.div_ceil(BLOCK)).div_ceil(CHUNK)
}

/// A run of a group.
#[derive(Debug)]
struct Run<'r, T> {
    elements: &'r [T],
    /// Where its results will go, if that is to be asked for.
    output: Option<Ahead>,
}

fn group_moments<'r, T: Element>(
    job: &Job<'_, T>,
    buffers: &mut Buffers,
    run: impl Fn(usize) -> Run<'r, T>,
) -> Moments {
    match chunks(job) {
        1 => chunk_moments(job, 0, buffers, run),
        chunks => {
            let parts: Vec<Moments> = (0..chunks).map(|i| chunk_moments(job, i, buffers, &run)).collect();
            Moments::merge(parts.iter().copied())
        }
    }
}

/// The moments of chunk `chunk` of the group whose runs `run` gives.
fn chunk_moments<'r, T: Element>(
    job: &Job<'_, T>,
    chunk: usize,
    buffers: &mut Buffers,
    run: impl Fn(usize) -> Run<'r, T>,
) -> Moments {
    let centred = job.statistic.is_centred();
    let mut block_moments = |elements, mean_so_far, output| {
        job.simd.dispatch(BlockMoments { elements, buffer: &mut buffers.wide, centred, mean_so_far, output })
    };
    let blocks_a_run = job.view.d.div_ceil(BLOCK);
    if blocks_a_run == 1 && job.view.b == 1 {
        let Run { elements, output } = run(0);
        return block_moments(elements, None, output);
    }
    let blocks = chunk * CHUNK..((chunk + 1) * CHUNK).min(job.view.b * blocks_a_run);
    let mut parts = [Moments::NONE; CHUNK];
    let parts = &mut parts[..blocks.len()];
    let (mut count, mut sum) = (0.0, 0.0);
    for (part, block) in parts.iter_mut().zip(blocks) {
        let Run { elements, output } = run(block / blocks_a_run);
        let start = block % blocks_a_run * BLOCK;
        let elements = &elements[start..(start + BLOCK).min(elements.len())];
        let is_enough = count >= float(elements.len());
        *part = block_moments(elements, is_enough.then(|| sum / count), output.map(|output| output.skip(start)));
        count += part.count;
        sum += part.count * part.mean;
    }
    Moments::merge(parts.iter().copied())
}

/// The moments of every group, with a group's chunks on as many threads as there are.
pub(super) fn all_moments<T: Element>(job: &Job<'_, T>, input: &[T]) -> Vec<Moments> {
    let view = job.view;
    let chunks = chunks(job);
    let mut parts = vec![Moments::NONE; view.statistics() * chunks];
    let parts_a_task = (TASK * chunks / view.count()).max(1);
    parallel::each_chunk(job.threads, &mut parts, parts_a_task, |task, parts| {
        let mut buffers = Buffers::of(job);
        for (i, part) in parts.iter_mut().enumerate() {
            let (group, chunk) = ((task * parts_a_task + i) / chunks, (task * parts_a_task + i) % chunks);
            *part = chunk_moments(job, chunk, &mut buffers, |b| {
                let run = (group / view.c * view.b + b) * view.c + group % view.c;
                Run { elements: &input[run * view.d..][..view.d], output: None }
            });
        }
    });
    if chunks == 1 {
        return parts;
    }
    parts.chunks(chunks).map(|parts| Moments::merge(parts.iter().copied())).collect()
}
