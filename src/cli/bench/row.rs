//! A line of the table: a workload's pass on a place, and what was measured of it.

use super::clock::Time;
use super::passes::Record;
use super::timestamps::{Refusal, TimedBy};
use super::workloads::Workload;
use crate::cli::compare::Errors;
use crate::cli::words::short;
use serde_json::{Value, json};
use wgpu_norm::Dtype;

/// A workload on a place.
pub(super) struct Row {
    pub(super) workload: &'static Workload,
    pub(super) dtype: Dtype,
    pub(super) backward: bool,
    pub(super) adapter: String,
    pub(super) outcome: Result<Figures, String>,
}

pub(super) struct Figures {
    pub(super) time: Time,
    pub(super) timed_by: TimedBy,
    /// Bytes that the pass reads and writes: of the tensor as its strategy does, and of what lies beside it once.
    pub(super) bytes: u64,
    /// Bytes of the tensor that any such pass has to read and write: the output, or the input's gradient, and what it needs.
    pub(super) floor: u64,
    /// The time of a copy that reads and writes as many as the pass.
    pub(super) copy: f64,
    pub(super) strategy: &'static str,
    pub(super) errors: Errors,
    /// None on the CPU.
    pub(super) on_device: Option<OnDevice>,
}

/// What is measured where data and recording are somewhere else than the calls.
pub(super) struct OnDevice {
    pub(super) with_transfer: Time,
    pub(super) first_call: f64,
    pub(super) record: Record,
}

#[expect(clippy::cast_precision_loss, reason = "no tensor has 2^53 bytes")]
impl Figures {
    /// What the pass would move at least, over the time that it took.
    pub(super) fn gigabytes_a_second(&self) -> f64 {
        self.floor as f64 / self.time.median / 1e9
    }

    /// What its strategy moves.
    fn moved_gigabytes_a_second(&self) -> f64 {
        self.bytes as f64 / self.time.median / 1e9
    }
}

impl Row {
    pub(super) fn header() -> String {
        format!(
            "{:<22} {:<5} {:<8} {:<32} {:>12} {:>6} {:>8} {:>8} {:>13} {:>11} {:>10}  strategy",
            "workload",
            "dtype",
            "pass",
            "adapter",
            "median",
            "+-",
            "GB/s",
            "of copy",
            "with transfer",
            "first call",
            "record"
        )
    }

    /// What the columns mean whose names do not say it, and why a device's clock was not taken.
    pub(super) fn notes(rows: &[Self]) -> Vec<String> {
        let figures = || rows.iter().filter_map(|row| row.outcome.as_ref().ok());
        let mut notes = Vec::new();
        if figures().next().is_some() {
            notes.push("GB/s: each tensor read or written once, over the median; of copy: the time of copying as many bytes as the pass moves, over the median".to_owned());
        }
        if figures().any(|figures| figures.on_device.is_some()) {
            notes.push("with transfer: upload, pass and readback; first call: with compiling; record: the host's cost beyond that of as many trivial dispatches".into());
        }
        let mut refused: Vec<String> =
            figures().filter(|figures| figures.is_marked()).map(|figures| format!("* {}", figures.timed_by)).collect();
        refused.sort();
        refused.dedup();
        notes.extend(refused);
        notes
    }

    pub(super) fn pass(&self) -> &'static str {
        if self.backward { "backward" } else { "forward" }
    }

    pub(super) fn is_on_cpu(&self) -> bool {
        self.adapter == "cpu"
    }

    pub(super) fn figures(&self) -> Option<&Figures> {
        self.outcome.as_ref().ok()
    }

    /// Whether both are the same workload, type and pass.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        (self.workload.name, self.dtype, self.backward) == (other.workload.name, other.dtype, other.backward)
    }

    /// What the row is about.
    pub(super) fn start(&self) -> String {
        let adapter = short(&self.adapter, 32);
        format!("{:<22} {:<5} {:<8} {adapter:<32}", self.workload.name, self.dtype.to_string(), self.pass())
    }

    pub(super) fn line(&self) -> String {
        let start = self.start();
        let figures = match &self.outcome {
            Ok(figures) => figures,
            Err(reason) => return format!("{start} FAIL {reason}"),
        };
        let [with_transfer, first_call, record] = match &figures.on_device {
            Some(on) => [on.with_transfer.median, on.first_call, on.record.beyond_wgpu].map(seconds),
            None => [(); 3].map(|()| String::new()),
        };
        format!(
            "{start} {:>11}{} {:>5.1}% {:>8.2} {:>7.0}% {with_transfer:>13} {first_call:>11} {record:>10}  {}",
            seconds(figures.time.median),
            if figures.is_marked() { "*" } else { " " },
            figures.time.spread * 100.0,
            figures.gigabytes_a_second(),
            figures.copy / figures.time.median * 100.0,
            figures.strategy
        )
    }

    pub(super) fn json(&self) -> Value {
        let mut row = json!({
            "workload": self.workload.name,
            "shape": self.workload.shape,
            "dtype": self.dtype.to_string(),
            "pass": self.pass(),
            "adapter": self.adapter,
        });
        match &self.outcome {
            Ok(figures) => figures.write(&mut row),
            Err(reason) => row["error"] = json!(reason),
        }
        row
    }
}

impl Figures {
    /// Whether the device's clock was asked, and not believed or not there.
    pub(super) fn is_marked(&self) -> bool {
        self.on_device.is_some() && matches!(self.timed_by, TimedBy::Wall(_))
    }

    fn write(&self, row: &mut Value) {
        row["median_s"] = json!(self.time.median);
        row["spread"] = json!(self.time.spread);
        row["timed_by"] = json!(self.timed_by.to_string());
        row["bytes"] = json!(self.bytes);
        row["moved_gb_per_s"] = json!(self.moved_gigabytes_a_second());
        row["floor_bytes"] = json!(self.floor);
        row["gb_per_s"] = json!(self.gigabytes_a_second());
        // By this name in reports from before 2026-12, where the other counted what is moved.
        row["floor_gb_per_s"] = row["gb_per_s"].clone();
        row["share_of_copy"] = json!(self.copy / self.time.median);
        row["strategy"] = json!(self.strategy);
        row["errors"] = self.errors.json();
        if let Some(on) = &self.on_device {
            row["with_transfer_s"] = json!(on.with_transfer.median);
            row["with_transfer_spread"] = json!(on.with_transfer.spread);
            row["first_call_s"] = json!(on.first_call);
            row["record_s"] = json!(on.record.beyond_wgpu);
            row["record_whole_s"] = json!(on.record.whole.median);
            row["record_whole_spread"] = json!(on.record.whole.spread);
        }
    }

    /// On a processor there is no other clock than the wall's.
    pub(super) fn by_wall() -> TimedBy {
        TimedBy::Wall(Refusal::Absent)
    }
}

/// A time with the unit that suits it.
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.2} ms", s * 1e3),
        s if s >= 1e-6 => format!("{:.1} us", s * 1e6),
        s => format!("{:.0} ns", s * 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_the_unit_that_suits_it() {
        assert_eq!(
            [0.0, 4.2e-8, 1.5e-6, 9.99e-4, 0.0123, 2.0].map(seconds),
            ["0 ns", "42 ns", "1.5 us", "999.0 us", "12.30 ms", "2.00 s"]
        );
    }
}
