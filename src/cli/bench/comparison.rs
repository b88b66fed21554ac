//! What moved since an earlier report, and by how much.

use serde_json::Value;
use std::path::Path;

/// An earlier report.
pub(super) struct Earlier {
    rows: Vec<Value>,
}

/// What is compared: a name, the seconds in a report, and the share of them that chance moves.
struct Figure {
    name: &'static str,
    seconds: &'static str,
    spread: Spread,
}

enum Spread {
    /// What the batches spread, by this name in a report.
    Measured(&'static str),
    /// What was measured once spreads as much: what the driver has in its caches makes a first call twice as fast.
    Assumed(f64),
}

const TIME: Figure = Figure { name: "time", seconds: "median_s", spread: Spread::Measured("spread") };

/// What the host does for a call, beside the call itself.
const AROUND: [Figure; 3] = [
    Figure { name: "with transfer", seconds: "with_transfer_s", spread: Spread::Measured("with_transfer_spread") },
    Figure { name: "first call", seconds: "first_call_s", spread: Spread::Assumed(0.25) },
    // A difference of two would have the noise of both.
    Figure { name: "record", seconds: "record_whole_s", spread: Spread::Measured("record_whole_spread") },
];

/// How a row of now compares with the same row of an earlier report.
#[derive(Debug, PartialEq)]
pub(super) enum Change {
    /// There was no such row, or it had no speed.
    New,
    /// It had a speed, and has none now.
    Lost,
    /// Within what both reports' times spread.
    None,
    /// So many times as fast as then.
    Speed(f64),
    /// One of both is by a device's clock, the other by the wall's.
    Clocks,
}

impl Earlier {
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
        let report: Value = serde_json::from_str(&text).map_err(|error| failed(&error))?;
        let rows = report["results"].as_array().filter(|rows| rows.iter().all(|row| row["workload"].is_string()));
        let rows = rows.ok_or_else(|| failed(&"expected a report of bench --json, got no results with workloads"))?;
        Ok(Self { rows: rows.clone() })
    }

    /// Compares a row, as it is written to a report, with the same of then.
    fn change(&self, row: &Value, figure: &Figure) -> Change {
        let same = |then: &&Value| ["workload", "dtype", "pass", "adapter"].iter().all(|key| then[*key] == row[*key]);
        let number = |row: &Value, key: &str| row[key].as_f64().filter(|value| value.is_finite() && *value >= 0.0);
        let median = |row: &Value| number(row, figure.seconds).filter(|median| *median > 0.0);
        let Some(then) = self.rows.iter().find(same) else { return Change::New };
        let (now_s, then_s) = match (median(row), median(then)) {
            (Some(now_s), Some(then_s)) => (now_s, then_s),
            (None, Some(_)) => return Change::Lost,
            (_, None) => return Change::New,
        };
        let by_timestamps = |row: &Value| row["timed_by"] == "timestamps";
        if figure.seconds == TIME.seconds && by_timestamps(row) != by_timestamps(then) {
            return Change::Clocks;
        }
        // Quartiles of a dozen batches: their distance again on each side is what chance does.
        let spread = |row, median: f64| match figure.spread {
            Spread::Measured(key) => number(row, key).unwrap_or(0.0) * median,
            Spread::Assumed(share) => share * median,
        };
        let noise = 2.0 * (spread(row, now_s) + spread(then, then_s));
        if (now_s - then_s).abs() <= noise { Change::None } else { Change::Speed(then_s / now_s) }
    }

    /// The row with what became of its time, and of what is around it where both reports have that.
    pub(super) fn annotate(&self, row: &mut Value) {
        let changes: Vec<(String, String)> = AROUND
            .iter()
            .map(|figure| (figure, self.change(row, figure)))
            .filter(|(_, change)| !matches!(change, Change::New | Change::Lost))
            .map(|(figure, change)| (format!("change_{}", figure.name.replace(' ', "_")), change.to_string()))
            .collect();
        row["change"] = Value::from(self.change(row, &TIME).to_string());
        for (key, change) in changes {
            row[key] = Value::from(change);
        }
    }

    /// The same in words: the time, and what else moved.
    pub(super) fn told(&self, row: &Value) -> String {
        let moved = AROUND.iter().filter_map(|figure| match self.change(row, figure) {
            change @ Change::Speed(_) => Some(format!("; {}: {change}", figure.name)),
            _ => None,
        });
        std::iter::once(self.change(row, &TIME).to_string()).chain(moved).collect()
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::New => write!(f, "new"),
            Self::Lost => write!(f, "no speed any more"),
            Self::None => write!(f, "as before, within the noise"),
            Self::Speed(times) => write!(f, "{times:.2} times the speed of before"),
            Self::Clocks => write!(f, "timed by another clock than before"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_moves_beyond_the_noise_of_both_is_told() {
        let row = |median: f64, spread: f64| json!({ "workload": "w", "dtype": "f32", "pass": "forward", "adapter": "cpu", "median_s": median, "spread": spread });
        let earlier = Earlier { rows: vec![row(1.0, 0.05)] };
        assert_eq!(earlier.change(&row(1.1, 0.01), &TIME), Change::None);
        assert_eq!(earlier.change(&row(0.5, 0.01), &TIME), Change::Speed(2.0));
        assert_eq!(earlier.change(&row(2.0, 0.01), &TIME), Change::Speed(0.5));
        let mut other = row(1.0, 0.0);
        other["dtype"] = json!("f16");
        assert_eq!(earlier.change(&other, &TIME), Change::New);
        let failed = json!({ "workload": "w", "dtype": "f32", "pass": "forward", "adapter": "cpu", "error": "wrong" });
        assert_eq!(earlier.change(&failed, &TIME), Change::Lost);
        assert_eq!(Earlier { rows: vec![failed] }.change(&row(1.0, 0.0), &TIME), Change::New);
    }

    #[test]
    fn what_is_around_a_call_is_compared_where_both_have_it() {
        let row = |first: f64, record: f64| json!({ "workload": "w", "median_s": 1.0, "spread": 0.01, "first_call_s": first, "record_whole_s": record, "record_whole_spread": 0.01 });
        let earlier = Earlier { rows: vec![row(1.0, 1.0)] };
        let told = earlier.told(&row(0.9, 0.5));
        assert_eq!(told, "as before, within the noise; record: 2.00 times the speed of before");
        let mut now = row(4.0, 1.0);
        earlier.annotate(&mut now);
        assert_eq!(now["change_first_call"], "0.25 times the speed of before");
        assert_eq!(earlier.told(&row(2.0, 1.0)), "as before, within the noise", "a cache of the driver's");
        assert_eq!(now["change_record"], "as before, within the noise");
        assert!(now.get("change_with_transfer").is_none(), "neither has it: {now:#}");
    }

    #[test]
    fn times_by_two_clocks_are_not_compared() {
        let row = |by: &str| json!({ "workload": "w", "median_s": 1.0, "timed_by": by });
        let earlier = Earlier { rows: vec![row("wall time over batches")] };
        assert_eq!(earlier.change(&row("timestamps"), &TIME), Change::Clocks);
        assert_eq!(earlier.change(&row("wall time over batches: timestamps are zero"), &TIME), Change::None);
    }

    #[test]
    fn what_is_no_report_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("old.json");
        assert!(Earlier::read(&path).is_err());
        for text in ["", "[1, 2]", "{\"results\": 3}"] {
            std::fs::write(&path, text).expect("written");
            assert!(Earlier::read(&path).is_err_and(|error| error.contains("old.json")), "{text:?}");
        }
    }
}
