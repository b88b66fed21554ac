//! What cases come to together.

use super::join::Entry;
use super::{Figure, Row};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Cases that were run on one adapter.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) passed: usize,
    pub(super) failed: usize,
    /// The worst error of all, in units of the last place; none where nothing was compared.
    pub(super) worst: Option<Figure>,
    /// The median of the cases' medians: each case counts once, however many values it has.
    pub(super) median: Option<Figure>,
    /// The worst error over its tolerance; none where there is no case, or in each nothing came to be compared.
    pub(super) over_tolerance: Option<Figure>,
}

impl Tally {
    pub(super) fn of<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Self {
        let (mut tally, mut worst, mut medians, mut over) = (Self::default(), Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            *if row.has_failed() { &mut tally.failed } else { &mut tally.passed } += 1;
            worst.extend(row.worst_ulp.map(Figure::value));
            medians.extend(row.median_ulp.map(Figure::value));
            over.extend(row.over_tolerance());
        }
        medians.sort_by(f64::total_cmp);
        let most = |values: Vec<f64>| values.into_iter().max_by(f64::total_cmp).map(Figure::new);
        tally.median = medians.get(medians.len() / 2).copied().map(Figure::new);
        (tally.worst, tally.over_tolerance) = (most(worst), most(over));
        tally
    }

    /// Of each operation that an adapter was tried with.
    pub(super) fn by_operation<'a>(entry: &Entry<'a>) -> BTreeMap<&'a str, Self> {
        let mut rows: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
        for row in &entry.rows {
            rows.entry(row.operation()).or_default().push(row);
        }
        rows.into_iter().map(|(operation, rows)| (operation, Self::of(rows))).collect()
    }

    fn json(&self) -> Value {
        json!({
            "passed": self.passed,
            "failed": self.failed,
            "worst_ulp": self.worst,
            "median_ulp": self.median,
            "worst_error_over_tolerance": self.over_tolerance,
        })
    }
}

/// An adapter's object, with what its cases come to: all of them, and those of each operation.
pub(super) fn annotate(adapter: &mut Value, entry: &Entry<'_>) {
    let operations = Tally::by_operation(entry).into_iter().map(|(name, tally)| (name.to_owned(), tally.json()));
    adapter["all"] = Tally::of(entry.rows.iter().copied()).json();
    adapter["operations"] = Value::Object(operations.collect::<Map<_, _>>());
}

#[cfg(test)]
mod tests {
    use super::super::{About, Outcome};
    use super::*;

    fn row(outcome: Outcome, worst: f64, median: f64) -> Row {
        let (case, adapter, about) = ("a/b".into(), "cpu".into(), About::default());
        let [worst_ulp, median_ulp] = [worst, median].map(|ulp| Some(Figure::new(ulp)));
        Row { case, adapter, about, outcome, worst_ulp, median_ulp }
    }

    #[test]
    fn a_tally_is_what_its_cases_come_to() {
        let pass = |over: f64| Outcome::Pass { worst_error_over_tolerance: Figure::new(over) };
        let fail = |over: Option<f64>| {
            let worst_error_over_tolerance = over.map(Figure::new);
            Outcome::Fail { reason: "wrong".into(), worst_error_over_tolerance }
        };
        let rows = [
            row(pass(0.25), 7.0, 0.0),
            row(pass(0.5), 2.0, 3.0),
            row(fail(Some(8.0)), f64::INFINITY, 1.0),
            Row { worst_ulp: None, median_ulp: None, ..row(fail(None), 0.0, 0.0) },
            Row { worst_ulp: None, median_ulp: None, ..row(pass(0.0), 0.0, 0.0) },
        ];
        let want = Tally {
            passed: 3,
            failed: 2,
            worst: Some(Figure::new(f64::INFINITY)),
            median: Some(Figure::new(1.0)),
            over_tolerance: Some(Figure::new(8.0)),
        };
        assert_eq!(Tally::of(&rows), want);
        assert_eq!(Tally::of(&[]), Tally::default());
    }
}
