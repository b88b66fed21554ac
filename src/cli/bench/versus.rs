//! GPUs against the CPU: how many times as fast, and from which size on.

use super::row::Row;
use super::sweeps::{Line, Sweep};
use crate::cli::words::number;
use serde_json::{Value, json};

/// How many times the CPU's speed an adapter has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Versus {
    /// With its data already there.
    pub(super) resident: f64,
    /// With upload and readback.
    pub(super) with_transfer: f64,
}

impl Versus {
    /// None for the CPU itself, and where one of both has no speed.
    pub(super) fn of(row: &Row, rows: &[Row]) -> Option<Self> {
        let figures = row.figures()?;
        let on = figures.on_device.as_ref()?;
        let cpu = rows.iter().find(|other| other.is_on_cpu() && other.is_as(row))?.figures()?.time.median;
        Some(Self { resident: cpu / figures.time.median, with_transfer: cpu / on.with_transfer.median })
    }
}

/// A line for every row of an adapter.
pub(super) fn told(rows: &[Row]) -> Vec<String> {
    let told = |row: &Row| {
        let Versus { resident, with_transfer } = Versus::of(row, rows)?;
        let start = row.start();
        let [resident, with_transfer] = [resident, with_transfer].map(number);
        Some(format!("{start} {resident:>7} times the CPU's speed, {with_transfer:>7} with upload and readback"))
    };
    rows.iter().filter_map(told).collect()
}

/// The size from which on one place is faster than another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum BreakEven {
    /// At all sizes, of which this was the smallest.
    Always(f64),
    /// From so many bytes on.
    From(f64),
    /// At no size up to so many bytes that all larger ones share.
    Never(f64),
}

/// From sizes in bytes, in order, and the seconds of here and there. Between two sizes the logarithms of size and of the
/// quotient of times lie on a line. None where nothing was measured.
fn break_even(sizes: &[(f64, f64, f64)]) -> Option<BreakEven> {
    let advantage = |(_, here, there): (f64, f64, f64)| (there / here).ln();
    let (smallest, largest) = (sizes.first()?.0, sizes.last()?.0);
    let Some(behind) = sizes.iter().rposition(|size| advantage(*size) <= 0.0) else {
        return Some(BreakEven::Always(smallest));
    };
    let (last, Some(&next)) = (sizes[behind], sizes.get(behind + 1)) else { return Some(BreakEven::Never(largest)) };
    let share = -advantage(last) / (advantage(next) - advantage(last));
    Some(BreakEven::From((last.0.ln() + share * (next.0.ln() - last.0.ln())).exp()))
}

/// Break-even of an adapter with the CPU, by the sweep over columns.
pub(super) struct Crossing {
    pub(super) title: String,
    pub(super) adapter: String,
    pub(super) resident: BreakEven,
    pub(super) with_transfer: BreakEven,
}

pub(super) fn crossings(lines: &[Line]) -> Vec<Crossing> {
    lines.iter().filter(|line| line.sweep == Sweep::Columns).filter_map(|line| crossing(line, lines)).collect()
}

fn crossing(line: &Line, lines: &[Line]) -> Option<Crossing> {
    let cpu = lines.iter().find(|other| {
        other.adapter == "cpu" && (other.sweep, other.dtype, other.backward) == (line.sweep, line.dtype, line.backward)
    })?;
    let (mut resident, mut with_transfer) = (Vec::new(), Vec::new());
    for here in &line.points {
        let there = cpu.points.iter().find(|there| there.length == here.length);
        if let (Some(there), Some(transferred)) = (there, here.with_transfer) {
            #[expect(clippy::cast_precision_loss, reason = "no tensor has 2^53 bytes")]
            let bytes = here.bytes as f64;
            resident.push((bytes, here.time, there.time));
            with_transfer.push((bytes, transferred, there.time));
        }
    }
    Some(Crossing {
        title: line.title(),
        adapter: line.adapter.clone(),
        resident: break_even(&resident)?,
        with_transfer: break_even(&with_transfer)?,
    })
}

impl Crossing {
    pub(super) fn json(&self) -> Value {
        json!({
            "sweep": self.title,
            "adapter": self.adapter,
            "resident": self.resident.to_string(),
            "resident_bytes": self.resident.bytes(),
            "with_transfer": self.with_transfer.to_string(),
            "with_transfer_bytes": self.with_transfer.bytes(),
        })
    }

    pub(super) fn told(&self) -> String {
        format!(
            "break-even: {} on {}: faster than the CPU {} with its data there, {} with upload and readback",
            self.title, self.adapter, self.resident, self.with_transfer
        )
    }
}

impl BreakEven {
    /// None where there is none.
    fn bytes(self) -> Option<f64> {
        match self {
            Self::Always(bytes) | Self::From(bytes) => Some(bytes),
            Self::Never(_) => None,
        }
    }
}

impl std::fmt::Display for BreakEven {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Always(smallest) => write!(f, "at all sizes from {} on", size(smallest)),
            Self::From(bytes) => write!(f, "from {} on", size(bytes)),
            Self::Never(largest) => write!(f, "at none up to {}", size(largest)),
        }
    }
}

/// Bytes in the unit that suits them.
fn size(bytes: f64) -> String {
    match bytes {
        b if b >= 1024.0 * 1024.0 => format!("{:.1} MiB", b / 1024.0 / 1024.0),
        b if b >= 1024.0 => format!("{:.1} KiB", b / 1024.0),
        b => format!("{b:.0} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn break_even_lies_between_the_last_size_behind_and_the_next() {
        // Half as fast at 1 KiB, twice as fast at 16 KiB: in the middle of the logarithms.
        let found = break_even(&[(1024.0, 2.0, 1.0), (16384.0, 1.0, 2.0)]);
        assert!(matches!(found, Some(BreakEven::From(bytes)) if (bytes - 4096.0).abs() < 1e-6), "{found:?}");
        // A size that is ahead before one that is behind does not count.
        let found = break_even(&[(1.0, 1.0, 2.0), (4.0, 2.0, 1.0), (16.0, 1.0, 2.0), (64.0, 1.0, 4.0)]);
        assert!(matches!(found, Some(BreakEven::From(bytes)) if (bytes - 8.0).abs() < 1e-9), "{found:?}");
        // Equally fast is not yet faster.
        let found = break_even(&[(4.0, 1.0, 1.0), (16.0, 1.0, 2.0)]);
        assert!(matches!(found, Some(BreakEven::From(bytes)) if (bytes - 4.0).abs() < 1e-9), "{found:?}");
    }

    #[test]
    fn there_may_be_no_break_even() {
        assert_eq!(break_even(&[(4.0, 2.0, 1.0), (16.0, 1.5, 1.0)]), Some(BreakEven::Never(16.0)));
        assert_eq!(break_even(&[(4.0, 1.0, 2.0), (16.0, 2.0, 1.0)]), Some(BreakEven::Never(16.0)));
        assert_eq!(break_even(&[(4.0, 1.0, 2.0), (16.0, 1.0, 2.0)]), Some(BreakEven::Always(4.0)));
        assert_eq!(break_even(&[]), None);
    }

    #[test]
    fn sizes_are_told_in_the_unit_that_suits_them() {
        assert_eq!(BreakEven::Never(67_108_864.0).to_string(), "at none up to 64.0 MiB");
        assert_eq!(BreakEven::From(1536.0).to_string(), "from 1.5 KiB on");
        assert_eq!(BreakEven::Always(256.0).to_string(), "at all sizes from 256 bytes on");
    }
}
