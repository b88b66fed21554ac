//! What moved since an earlier report, and by how much.

use serde_json::Value;
use std::path::Path;

/// An earlier report.
pub(super) struct Earlier {
    rows: Vec<Value>,
}

/// How a row of now compares with the same row of an earlier report.
#[derive(Debug, PartialEq)]
pub(super) enum Change {
    /// There was no such row, or it had no speed.
    New,
    /// Within what both reports' times spread.
    None,
    /// So many times as fast as then.
    Speed(f64),
}

impl Earlier {
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
        let report: Value = serde_json::from_str(&text).map_err(|error| failed(&error))?;
        let rows = report["results"].as_array().cloned();
        rows.map(|rows| Self { rows }).ok_or_else(|| failed(&"no report of bench --json: it has no results"))
    }

    /// Compares a row, as it is written to a report, with the same of then.
    pub(super) fn change(&self, row: &Value) -> Change {
        let same = |then: &&Value| ["workload", "dtype", "pass", "adapter"].iter().all(|key| then[*key] == row[*key]);
        let number = |row: &Value, key: &str| row[key].as_f64().filter(|value| value.is_finite() && *value >= 0.0);
        let median = |row: &Value| number(row, "median_s").filter(|median| *median > 0.0);
        let Some(then) = self.rows.iter().find(same) else { return Change::New };
        let (Some(now_s), Some(then_s)) = (median(row), median(then)) else { return Change::New };
        // Quartiles of a dozen batches: their distance again on each side is what chance does.
        let spread = |row, median: f64| number(row, "spread").unwrap_or(0.0) * median;
        let noise = 2.0 * (spread(row, now_s) + spread(then, then_s));
        if (now_s - then_s).abs() <= noise { Change::None } else { Change::Speed(then_s / now_s) }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::New => write!(f, "new"),
            Self::None => write!(f, "as before, within the noise"),
            Self::Speed(times) => write!(f, "{times:.2} times the speed of before"),
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
        assert_eq!(earlier.change(&row(1.1, 0.01)), Change::None);
        assert_eq!(earlier.change(&row(0.5, 0.01)), Change::Speed(2.0));
        assert_eq!(earlier.change(&row(2.0, 0.01)), Change::Speed(0.5));
        let mut other = row(1.0, 0.0);
        other["dtype"] = json!("f16");
        assert_eq!(earlier.change(&other), Change::New);
        other = json!({ "workload": "w", "dtype": "f32", "pass": "forward", "adapter": "cpu", "error": "wrong" });
        assert_eq!(earlier.change(&other), Change::New);
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
