//! The table, and what it comes to.

use crate::contest::{Cell, Row};
use crate::peers::Column;
use crate::task::TOLERANCE;
use serde_json::{Value, json};
use std::io::Write;

/// Prints a line; whoever has stopped reading misses nothing.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn start(workload: &str, pass: &str, place: &str) -> String {
    format!("{workload:<15} {pass:<8} {:<24}", short(place))
}

/// An adapter's name without what its driver adds in brackets.
fn short(place: &str) -> String {
    match (place.find(" ("), place.rfind(" [")) {
        (Some(begin), Some(end)) if begin < end => format!("{}{}", &place[..begin], &place[end..]),
        _ => place.into(),
    }
}

/// A line of the table, under its header where it is the first.
pub(crate) fn print_row(row: &Row) {
    static HEADER: std::sync::Once = std::sync::Once::new();
    HEADER.call_once(print_header);
    let mut line = format!("{} {:>9}", start(row.workload, row.pass, &row.place), cell(row, Column::Ours));
    for column in Column::PEERS {
        line += &format!(" {:>9} {:>7}", cell(row, column), times(row.ratio(column)));
    }
    say(&format!("{line} {:>7}", times(row.best_ratio())));
}

fn print_header() {
    say("Milliseconds a call, and how many times as fast as that ours is; the last column is against the fastest.");
    say(&format!("A result that is off by more than {TOLERANCE} of the largest value is wrong and has no time."));
    let mut line = format!("{} {:>9}", start("workload", "pass", "place"), "ours");
    for column in Column::PEERS {
        line += &format!(" {:>17}", column.name());
    }
    say(&format!("{line} {:>7}", "best"));
}

/// What a library did: milliseconds, `wrong`, or a dash.
fn cell(row: &Row, column: Column) -> String {
    match row.cells.iter().find(|(each, _)| *each == column) {
        Some((_, Cell::Time(seconds))) => milliseconds(*seconds),
        Some((_, Cell::Wrong(_))) => "wrong".into(),
        Some((_, Cell::Dash(_))) | None => "-".into(),
    }
}

/// With four digits or so.
fn milliseconds(seconds: f64) -> String {
    match seconds * 1e3 {
        ms if ms < 1.0 => format!("{ms:.5}"),
        ms if ms < 100.0 => format!("{ms:.3}"),
        ms => format!("{ms:.1}"),
    }
}

fn times(ratio: Option<f64>) -> String {
    match ratio {
        Some(ratio) if ratio < 100.0 => format!("x{ratio:.2}"),
        Some(ratio) => format!("x{ratio:.0}"),
        None => "-".into(),
    }
}

/// The geometric mean of ratios at a place.
struct Mean {
    place: String,
    /// The library; none for the fastest of each row.
    against: Option<Column>,
    ratio: f64,
    rows: usize,
}

fn means(rows: &[Row]) -> Vec<Mean> {
    let mut places: Vec<&str> = Vec::new();
    for row in rows {
        if !places.contains(&&*row.place) {
            places.push(&row.place);
        }
    }
    let against = || std::iter::once(None).chain(Column::PEERS.map(Some));
    let pairs = places.into_iter().flat_map(|place| against().map(move |against| (place, against)));
    pairs.filter_map(|(place, against)| mean(rows, place, against)).collect()
}

/// None where nothing can be compared.
fn mean(rows: &[Row], place: &str, against: Option<Column>) -> Option<Mean> {
    let here = rows.iter().filter(|row| row.place == place);
    let ratio = |row: &Row| against.map_or_else(|| row.best_ratio(), |column| row.ratio(column));
    let logarithms: Vec<f64> = here.filter_map(ratio).map(f64::ln).collect();
    if logarithms.is_empty() {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "there are not so many workloads")]
    let ratio = (logarithms.iter().sum::<f64>() / logarithms.len() as f64).exp();
    Some(Mean { place: place.into(), against, ratio, rows: logarithms.len() })
}

fn against(mean: &Mean) -> &'static str {
    mean.against.map_or("the fastest", Column::name)
}

pub(crate) fn print_means(rows: &[Row]) {
    for mean in means(rows) {
        let (place, against, ratio, rows) = (short(&mean.place), against(&mean), mean.ratio, mean.rows);
        say(&format!("geometric mean {place:<24} against {against:<14} x{ratio:.2} over {rows} rows"));
    }
}

pub(crate) fn print_json(rows: &[Row], threads: usize) {
    let means: Vec<Value> = means(rows)
        .iter()
        .map(|mean| json!({ "place": mean.place, "against": against(mean), "ratio": mean.ratio, "rows": mean.rows }))
        .collect();
    let results: Vec<Value> = rows.iter().map(row_json).collect();
    let report = json!({ "threads": threads, "tolerance": TOLERANCE, "results": results, "geometric_means": means });
    say(&report.to_string());
}

fn row_json(row: &Row) -> Value {
    let mut json = json!({ "workload": row.workload, "pass": row.pass, "place": row.place });
    for (column, cell) in &row.cells {
        json[column.name()] = match cell {
            Cell::Time(seconds) if *column == Column::Ours => json!({ "median_s": seconds }),
            Cell::Time(seconds) => json!({ "median_s": seconds, "ratio": row.ratio(*column) }),
            Cell::Wrong(error) => json!({ "wrong_by": error.to_string() }),
            Cell::Dash(reason) => json!({ "reason": reason }),
        };
    }
    json["best_ratio"] = json!(row.best_ratio());
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(place: &str, ours: f64, burn: Cell) -> Row {
        let cells = vec![(Column::Ours, Cell::Time(ours)), (Column::Burn, burn)];
        Row { workload: "w", pass: "forward", place: place.into(), cells }
    }

    #[test]
    fn means_are_geometric_and_of_what_was_measured() {
        let rows = [
            row("cpu", 1.0, Cell::Time(2.0)),
            row("cpu", 1.0, Cell::Time(8.0)),
            row("cpu", 1.0, Cell::Dash("no".into())),
            row("gpu", 1.0, Cell::Wrong(1.0)),
        ];
        let means = means(&rows);
        assert_eq!(means.len(), 2, "the fastest and burn, on the CPU");
        for mean in means {
            assert_eq!(mean.rows, 2);
            assert!((mean.ratio - 4.0).abs() < 1e-9);
        }
    }

    #[test]
    fn names_of_places_are_short() {
        assert_eq!(short("cpu"), "cpu");
        assert_eq!(short("llvmpipe (LLVM 15.0.6, 256 bits) [vulkan]"), "llvmpipe [vulkan]");
        assert_eq!(short("NVIDIA H200 [vulkan]"), "NVIDIA H200 [vulkan]");
    }

    #[test]
    fn what_was_not_measured_is_a_dash() {
        let row = row("gpu", 1.0, Cell::Wrong(1.0));
        assert_eq!((cell(&row, Column::Burn), cell(&row, Column::Torch)), ("wrong".into(), "-".into()));
        assert_eq!(times(row.ratio(Column::Burn)), "-");
        assert_eq!(row_json(&row)["best_ratio"], Value::Null);
    }
}
