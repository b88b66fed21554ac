//! What a place does at best: copies from one piece of its memory to another.

use super::clock::{Time, time};
use super::device::Device;
use super::sets::{count, empty};
use super::timestamps::Timing;
use super::{Place, one_line};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::hint::black_box;
use wgpu_norm::{Error, wgpu};

/// Bytes of a large copy.
const LARGE: u64 = 64 << 20;

/// A large copy on a place.
pub(super) struct Copy {
    pub(super) adapter: String,
    pub(super) by: &'static str,
    /// Bytes that are copied: as many are read, and as many written.
    bytes: u64,
    outcome: Result<(Time, String), String>,
}

impl Copy {
    /// Every kind of copy that a place has.
    pub(super) fn of(place: &Place) -> Vec<Self> {
        let adapter = place.name();
        let copy = |by, bytes, outcome: Result<_, Error>| {
            let outcome = outcome.map_err(|error| one_line(&error.to_string()));
            Self { adapter: adapter.to_owned(), by, bytes, outcome }
        };
        let wall = || "wall time over batches".to_owned();
        match place {
            Place::Host(_) => {
                let bytes = usize::try_from(LARGE).unwrap_or(usize::MAX);
                vec![copy("memcpy", LARGE, Ok((memcpy(bytes), wall())))]
            }
            Place::Device { device, .. } => {
                let bytes = LARGE.min(device.most());
                let kernel = device.heeding(|| device.copy_kernel(bytes));
                let kernel = kernel.map(|timing| timing.best()).map(|(time, by)| (time, by.to_string()));
                let buffers = device.heeding(|| device.copy_buffer_to_buffer(bytes)).map(|time| (time, wall()));
                vec![copy("copy kernel", bytes, kernel), copy("copy_buffer_to_buffer", bytes, buffers)]
            }
        }
    }

    /// What is read and written in a second.
    #[expect(clippy::cast_precision_loss, reason = "64 MiB at most")]
    pub(super) fn gigabytes_a_second(&self) -> Option<f64> {
        self.outcome.as_ref().ok().map(|(time, _)| 2.0 * self.bytes as f64 / time.median / 1e9)
    }

    pub(super) fn line(&self) -> String {
        let what = format!("{} of {} MiB on {}", self.by, self.bytes >> 20, self.adapter);
        match (&self.outcome, self.gigabytes_a_second()) {
            (Ok((time, by)), Some(speed)) => format!("{what}: {speed:.2} GB/s +- {:.1}%, {by}", time.spread * 100.0),
            (Err(reason), _) => format!("{what}: FAIL {reason}"),
            (Ok(_), None) => what,
        }
    }

    pub(super) fn json(&self) -> Value {
        let mut copy = json!({ "adapter": self.adapter, "copy": self.by, "bytes": self.bytes });
        match &self.outcome {
            Ok((time, by)) => {
                copy["median_s"] = json!(time.median);
                copy["spread"] = json!(time.spread);
                copy["gb_per_s"] = json!(self.gigabytes_a_second());
                copy["timed_by"] = json!(by);
            }
            Err(reason) => copy["error"] = json!(reason),
        }
        copy
    }
}

/// The time of copying so many bytes from one place in the host's memory to another: by one thread or by all, whichever is
/// faster.
pub(super) fn memcpy(bytes: usize) -> Time {
    let alone = copied_by(1, bytes);
    let threads = rayon::current_num_threads();
    if threads == 1 {
        return alone;
    }
    let together = copied_by(threads, bytes);
    if together.median < alone.median { together } else { alone }
}

fn copied_by(threads: usize, bytes: usize) -> Time {
    let (from, mut to) = (vec![1u8; bytes], vec![0u8; bytes]);
    let share = bytes.div_ceil(threads).max(1);
    let copied = time(|calls| {
        for _ in 0..calls {
            let (from, to) = (black_box(&from[..]), black_box(&mut to[..]));
            if threads == 1 {
                to.copy_from_slice(from);
            } else {
                to.par_chunks_mut(share).zip(from.par_chunks(share)).for_each(|(to, from)| to.copy_from_slice(from));
            }
        }
        Ok::<(), std::convert::Infallible>(())
    });
    match copied {
        Ok(time) => time,
        Err(never) => match never {},
    }
}

impl Device {
    /// Bytes that a buffer can have so that a kernel sees all of it.
    fn most(&self) -> u64 {
        let limits = self.device.limits();
        limits.max_buffer_size.min(limits.max_storage_buffer_binding_size) & !15
    }

    /// The time of a copy of so many bytes by a kernel; where no binding holds so many, what as many as it holds say of it.
    pub(super) fn copy_kernel(&self, bytes: u64) -> Result<Timing, Error> {
        let wanted = bytes.next_multiple_of(16);
        let copied = wanted.min(self.most());
        #[expect(clippy::cast_precision_loss, reason = "no tensor has 2^53 bytes")]
        let times = wanted as f64 / copied as f64;
        Ok(self.copied_once(copied)?.times(times))
    }

    fn copied_once(&self, bytes: u64) -> Result<Timing, Error> {
        let sets: Vec<wgpu::BindGroup> = (0..count(2 * bytes)).map(|_| self.copy_set(bytes)).collect();
        let groups = u32::try_from(bytes.div_ceil(16 * 64)).unwrap_or(u32::MAX);
        let width = groups.min(32768);
        self.timed(|pass, call| {
            pass.set_pipeline(&self.copy);
            pass.set_bind_group(0, &sets[call % sets.len()], &[]);
            pass.dispatch_workgroups(width, groups.div_ceil(width), 1);
        })
    }

    /// What the copy kernel binds.
    pub(super) fn copy_set(&self, bytes: u64) -> wgpu::BindGroup {
        let [input, output] = [empty(&self.device, bytes), empty(&self.device, bytes)];
        self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("copy"),
            layout: &self.copy.get_bind_group_layout(0),
            entries: &[entry(0, &input), entry(1, &output)],
        })
    }

    /// The same by wgpu itself. That is no compute pass, so the wall clock times it.
    fn copy_buffer_to_buffer(&self, bytes: u64) -> Result<Time, Error> {
        let pair = |_| [empty(&self.device, bytes), empty(&self.device, bytes)];
        let pairs: Vec<[wgpu::Buffer; 2]> = (0..count(2 * bytes)).map(pair).collect();
        time(|calls| {
            let mut encoder = self.encoder();
            for call in 0..calls as usize {
                let [from, to] = &pairs[call % pairs.len()];
                encoder.copy_buffer_to_buffer(from, 0, to, 0, bytes);
            }
            self.finish(encoder)
        })
    }
}

fn entry(binding: u32, buffer: &wgpu::Buffer) -> wgpu::BindGroupEntry<'_> {
    wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() }
}
