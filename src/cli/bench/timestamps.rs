//! A device's own clock, and whether it can be believed.

use super::clock::{Batches, Time};
use wgpu_norm::wgpu;

/// Why a device's clock was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The adapter has no timestamps in compute passes, or what is timed is no compute pass.
    Absent,
    Zero,
    Unordered,
    Constant,
    BeyondWall,
}

/// What was timed by both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    wall: Time,
    device: Result<Time, Refusal>,
}

/// By which clock a time was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimedBy {
    Timestamps,
    /// The wall clock, over batches, because of this.
    Wall(Refusal),
}

impl Timing {
    pub(super) fn of(batches: &Batches<Option<[u64; 2]>>, nanoseconds_a_tick: f64) -> Self {
        let ticks: Option<Vec<_>> = batches.each.iter().map(|(wall, ticks)| Some((*wall, (*ticks)?))).collect();
        let device = ticks.ok_or(Refusal::Absent).and_then(|ticks| seconds(&ticks, nanoseconds_a_tick));
        Self { wall: batches.wall(), device: device.map(|seconds| batches.per_call(seconds)) }
    }

    /// By the device's clock where it can be believed.
    pub(super) fn best(&self) -> (Time, TimedBy) {
        match self.device {
            Ok(time) => (time, TimedBy::Timestamps),
            Err(refusal) => (self.wall, TimedBy::Wall(refusal)),
        }
    }

    /// What so many times as much takes.
    pub(super) fn times(self, factor: f64) -> Self {
        Self { wall: self.wall.times(factor), device: self.device.map(|time| time.times(factor)) }
    }

    /// This and what it is compared with, by one clock: the device's where it can be believed of both.
    pub(super) fn beside(&self, other: &Self) -> (Time, Time, TimedBy) {
        match (self.device, other.device) {
            (Ok(time), Ok(others)) => (time, others, TimedBy::Timestamps),
            (Err(refusal), _) | (_, Err(refusal)) => (self.wall, other.wall, TimedBy::Wall(refusal)),
        }
    }
}

/// The device's seconds of each batch, from the wall clock's and the ticks at its begin and end. Drivers write zeros,
/// swap the two, write what they made up, or count in another unit than they say: then no batch is believed.
fn seconds(batches: &[(f64, [u64; 2])], nanoseconds_a_tick: f64) -> Result<Vec<f64>, Refusal> {
    if batches.iter().any(|(_, ticks)| ticks.contains(&0)) || nanoseconds_a_tick.is_nan() || nanoseconds_a_tick <= 0.0 {
        return Err(Refusal::Zero);
    }
    if batches.iter().any(|(_, [begin, end])| end <= begin) {
        return Err(Refusal::Unordered);
    }
    let passed = |[begin, end]: [u64; 2]| end - begin;
    // No two batches take the same nanoseconds, let alone all.
    if batches.len() > 1 && batches.iter().all(|(_, ticks)| passed(*ticks) == passed(batches[0].1)) {
        return Err(Refusal::Constant);
    }
    #[expect(clippy::cast_precision_loss, reason = "a batch takes fewer ticks than 2^53")]
    let seconds = |ticks| passed(ticks) as f64 * nanoseconds_a_tick * 1e-9;
    if batches.iter().any(|(wall, ticks)| seconds(*ticks) > *wall) {
        return Err(Refusal::BeyondWall);
    }
    Ok(batches.iter().map(|(_, ticks)| seconds(*ticks)).collect())
}

impl std::fmt::Display for TimedBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Wall(refusal) = self else { return f.write_str("timestamps") };
        f.write_str("wall time over batches")?;
        match refusal {
            Refusal::Absent => Ok(()),
            Refusal::Zero => f.write_str(": timestamps are zero"),
            Refusal::Unordered => f.write_str(": timestamps end before they begin"),
            Refusal::Constant => f.write_str(": timestamps are constant"),
            Refusal::BeyondWall => f.write_str(": timestamps say more than the wall clock"),
        }
    }
}

/// Timestamps at the begin and the end of a compute pass.
pub(super) struct Stopwatch {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
}

/// Bytes of two timestamps.
const BOTH: u64 = 16;

impl Stopwatch {
    /// None where the device has no timestamps.
    pub(super) fn new(device: &wgpu::Device) -> Option<Self> {
        if !device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return None;
        }
        let buffer = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("timestamps"),
                size: BOTH,
                usage,
                mapped_at_creation: false,
            })
        };
        let queries = wgpu::QuerySetDescriptor { label: Some("timestamps"), ty: wgpu::QueryType::Timestamp, count: 2 };
        Some(Self {
            queries: device.create_query_set(&queries),
            resolved: buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            staging: buffer(wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ),
        })
    }

    pub(super) fn writes(&self) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        }
    }

    /// The ticks of the last pass; zeros where they cannot be read.
    pub(super) fn read(&self, device: &wgpu::Device, queue: &wgpu::Queue) -> [u64; 2] {
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.resolve_query_set(&self.queries, 0..2, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staging, 0, BOTH);
        queue.submit([encoder.finish()]);
        // Whether it worked shows when the range is asked for.
        self.staging.slice(..).map_async(wgpu::MapMode::Read, |_| ());
        if device.poll(wgpu::PollType::wait_indefinitely()).is_err() {
            return [0; 2];
        }
        let mut ticks = [0; 2];
        if let Ok(view) = self.staging.slice(..).get_mapped_range() {
            for (tick, bytes) in ticks.iter_mut().zip(view.chunks_exact(8)) {
                *tick = bytes.iter().rev().fold(0, |tick, byte| tick << 8 | u64::from(*byte));
            }
        }
        self.staging.unmap();
        ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(f64, [u64; 2]); 3] = [(2e-6, [10, 1010]), (2e-6, [2000, 3001]), (2e-6, [4000, 5002])];

    fn with(at: usize, ticks: [u64; 2]) -> Vec<(f64, [u64; 2])> {
        let mut batches = GOOD.to_vec();
        batches[at].1 = ticks;
        batches
    }

    #[test]
    fn ticks_are_of_the_period_that_the_queue_says() {
        let seconds = seconds(&GOOD, 1.5).expect("nothing is wrong");
        assert!(seconds.iter().zip([1.5e-6, 1.5015e-6, 1.503e-6]).all(|(got, want)| (got - want).abs() < 1e-15));
    }

    #[test]
    fn what_cannot_be_true_is_refused() {
        assert_eq!(seconds(&with(1, [0, 1000]), 1.0), Err(Refusal::Zero));
        assert_eq!(seconds(&with(1, [0, 0]), 1.0), Err(Refusal::Zero));
        assert_eq!(seconds(&GOOD, 0.0), Err(Refusal::Zero));
        assert_eq!(seconds(&GOOD, f64::NAN), Err(Refusal::Zero));
        assert_eq!(seconds(&with(2, [10, 9]), 1.0), Err(Refusal::Unordered));
        assert_eq!(seconds(&with(2, [10, 10]), 1.0), Err(Refusal::Unordered));
        assert_eq!(seconds(&[(1.0, [1, 5]), (1.0, [7, 11]), (1.0, [20, 24])], 1.0), Err(Refusal::Constant));
        assert_eq!(seconds(&with(0, [10, 2011]), 1.0), Err(Refusal::BeyondWall));
        assert_eq!(seconds(&GOOD, 100.0), Err(Refusal::BeyondWall));
    }

    #[test]
    fn a_pass_and_its_copy_are_timed_by_one_clock() {
        let time = |median| Time { median, spread: 0.0 };
        let believed = Timing { wall: time(2.0), device: Ok(time(1.0)) };
        let refused = Timing { wall: time(3.0), device: Err(Refusal::Constant) };
        let (one, other, by) = believed.beside(&refused);
        assert_eq!((one.median, other.median, by), (2.0, 3.0, TimedBy::Wall(Refusal::Constant)));
        assert_eq!(by.to_string(), "wall time over batches: timestamps are constant");
        let (one, other, by) = believed.beside(&believed);
        assert_eq!((one.median, other.median, by), (1.0, 1.0, TimedBy::Timestamps));
    }

    #[test]
    fn a_device_without_timestamps_is_timed_by_the_wall_clock() {
        let batches = Batches { calls: 1, each: vec![(1.0, None), (2.0, Some([1, 2])), (3.0, None)] };
        let (time, by) = Timing::of(&batches, 1.0).best();
        assert_eq!((time.median, by), (2.0, TimedBy::Wall(Refusal::Absent)));
    }
}
