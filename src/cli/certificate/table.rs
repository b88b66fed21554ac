//! What is shown of adapters: a headline and three tables.

use super::behaviour::{PROMISED, PROPERTIES, Property};
use super::join::{Entry, Joined};
use super::tally::Tally;
use super::{Figure, Outcome, Row};
use crate::cli::words::bytes;
use std::collections::{BTreeMap, BTreeSet};

/// A table with a line for each row, and its first line and column for names.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) rows: Vec<Vec<Cell>>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Cell {
    /// What stands below one another where there is room for that.
    pub(super) lines: Vec<String>,
    pub(super) is_bad: bool,
}

impl Cell {
    fn bad(text: impl Into<String>) -> Self {
        Self { is_bad: true, ..Self::from(text) }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { lines: vec![text.into()], is_bad: false }
    }
}

impl Table {
    pub(super) fn transposed(&self) -> Self {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let column = |i: usize| self.rows.iter().map(|row| row.get(i).cloned().unwrap_or_default()).collect();
        Self { rows: (0..columns).map(column).collect() }
    }
}

/// The most rows of the table of the worst cases, and as many that failed.
const MOST: usize = 12;

impl Joined<'_> {
    /// What a reader takes home: how many passed, and the worst errors.
    pub(super) fn headline(&self) -> Vec<String> {
        let cases: BTreeSet<&str> = self.rows().map(|row| row.case.as_str()).collect();
        let (all, failed) = (self.rows().count(), self.failed());
        let adapters = self.entries().len();
        let of = format!("{} on {}", counted(cases.len(), "case"), counted(adapters, "adapter"));
        let mut lines = vec![match failed {
            0 => format!("All {all} of {all} checks pass: {of}."),
            _ => format!("{failed} of {all} checks FAIL: {of}."),
        }];
        let worst = |figure: fn(&Row) -> Option<f64>, unit: &str| {
            let all = self.rows().filter_map(|row| Some((figure(row)?, row)));
            let (worst, row) = all.reduce(|one, other| if other.0 > one.0 { other } else { one })?;
            Some(format!("Worst error: {} {unit} ({}, {}).", Figure::new(worst), row.case, row.adapter))
        };
        lines.extend(worst(Row::over_tolerance, "of what is tolerated"));
        lines.extend(worst(|row| row.worst_ulp.map(Figure::value), "units in the last place"));
        let kept = self.entries().iter().filter(|entry| keeps_promises(entry)).count();
        lines.push(format!(
            "NaN and infinities fill the group that they are in, and no other, on {kept} of {}.",
            counted(adapters, "adapter")
        ));
        lines
    }

    /// Adapters down, operations across.
    pub(super) fn matrix(&self) -> Table {
        let operations = self.operations();
        let head = ["adapter", "all"].into_iter().chain(operations.iter().copied()).map(Cell::from).collect();
        let row = |(name, entry): (String, &Entry<'_>)| {
            let each = Tally::by_operation(entry);
            let all = Tally::of(entry.rows.iter().copied());
            let of_each = operations.iter().map(|operation| each.get(operation).map_or(Cell::default(), Tally::cell));
            [Cell::from(name), all.cell()].into_iter().chain(of_each).collect()
        };
        Table { rows: std::iter::once(head).chain(self.names().into_iter().zip(self.entries()).map(row)).collect() }
    }

    /// Properties down, adapters across.
    pub(super) fn properties(&self) -> Table {
        let head = std::iter::once("property".to_owned()).chain(self.names()).map(Cell::from).collect();
        let mut rows = vec![head];
        let mut add = |name: &str, of: &dyn Fn(&Entry<'_>) -> Option<Cell>| {
            let cells: Vec<Option<Cell>> = self.entries().iter().map(of).collect();
            if cells.iter().any(Option::is_some) {
                let cells = cells.into_iter().map(Option::unwrap_or_default);
                rows.push(std::iter::once(Cell::from(name)).chain(cells).collect());
            }
        };
        let some = |text: String| if text.is_empty() { None } else { Some(Cell::from(text)) };
        add("system", &|entry| some(entry.head.system()));
        add("type", &|entry| some(entry.adapter.described.kind.clone()));
        add("backend", &|entry| some(entry.adapter.described.backend.clone()));
        add("driver or processor", &|entry| some(entry.adapter.described.driver()));
        add("has", &|entry| some(entry.adapter.features.join(", ")));
        add("lacks, so that is not tried", &|entry| some(entry.adapter.lacks.join(", ")));
        for (key, words) in self.property_names() {
            add(words, &|entry| {
                let property = entry.adapter.properties.get(key)?;
                let is_bad = PROMISED.contains(&key) && *property == Property::Flag(false);
                Some(Cell { is_bad, ..Cell::from(property.to_string()) })
            });
        }
        add("properties not found", &|entry| entry.adapter.fault.clone().map(Cell::bad));
        let limits: BTreeSet<&str> =
            self.entries().iter().flat_map(|entry| entry.adapter.limits.keys().map(String::as_str)).collect();
        for limit in limits {
            let told = |&value: &u64| if is_of_bytes(limit) { bytes(value) } else { value.to_string() };
            add(limit, &|entry| entry.adapter.limits.get(limit).map(told).map(Cell::from));
        }
        add("checked with wgpu-norm", &|entry| some(entry.head.version.clone()));
        add("on", &|entry| some(entry.head.date.clone()));
        Table { rows }
    }

    /// Those that failed, and those nearest to it.
    pub(super) fn worst(&self) -> Table {
        let head = ["case", "adapter", "pass", "type", "error over tolerance", "worst ulp", "median ulp"];
        let mut rows: Vec<(String, &Row)> = Vec::new();
        for (name, entry) in self.names().into_iter().zip(self.entries()) {
            rows.extend(entry.rows.iter().map(|row| (name.clone(), *row)));
        }
        let over = |row: &Row| row.over_tolerance().unwrap_or(f64::INFINITY);
        rows.sort_by(|(_, one), (_, other)| over(other).total_cmp(&over(one)));
        let (failed, passed): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, row)| row.has_failed());
        let left = failed.len().checked_sub(MOST).filter(|left| *left > 0);
        let left = left.map(|left| vec![Cell::bad(format!("and {left} more that fail"))]);
        let mut cases = BTreeSet::new();
        let each_case_once = passed.into_iter().filter(|(_, row)| cases.insert(row.case.as_str())).take(MOST);
        let shown = failed.into_iter().take(MOST).chain(each_case_once);
        let shown: Vec<_> = shown.map(|(name, row)| row.cells(&name)).collect();
        Table { rows: std::iter::once(head.map(Cell::from).to_vec()).chain(shown).chain(left).collect() }
    }

    /// Each adapter's name, numbered where there are several: names may be long, and the same on two systems.
    fn names(&self) -> Vec<String> {
        let name = |(i, entry): (usize, &Entry<'_>)| format!("{}. {}", i + 1, entry.adapter.described.name);
        self.entries().iter().enumerate().map(name).collect()
    }

    /// The keys of properties with their words; those that this version does not know have none but their key.
    fn property_names(&self) -> Vec<(&str, &str)> {
        let known: BTreeMap<&str, &str> = PROPERTIES.into_iter().collect();
        let all: BTreeSet<&str> =
            self.entries().iter().flat_map(|entry| entry.adapter.properties.keys().map(String::as_str)).collect();
        let unknown = all.into_iter().filter(|key| !known.contains_key(key)).map(|key| (key, key));
        PROPERTIES.into_iter().chain(unknown).collect()
    }
}

impl Tally {
    /// How many passed, and the worst and the median error.
    fn cell(&self) -> Cell {
        let (passed, all) = (self.passed, self.passed + self.failed);
        let mut lines = vec![format!("{passed}/{all}")];
        if let (Some(worst), Some(median)) = (self.worst, self.median) {
            lines.push(format!("{worst}\u{a0}\u{b7}\u{a0}{median}"));
        }
        Cell { lines, is_bad: self.failed > 0 }
    }
}

impl Row {
    fn cells(&self, adapter: &str) -> Vec<Cell> {
        let text = |text: &Option<String>| Cell::from(text.clone().unwrap_or_default());
        let figure = |figure: Option<Figure>| Cell::from(figure.map_or(String::new(), |figure| figure.to_string()));
        let outcome = match &self.outcome {
            Outcome::Pass { worst_error_over_tolerance } => figure(Some(*worst_error_over_tolerance)),
            Outcome::Fail { reason, .. } => Cell::bad(format!("FAIL {reason}")),
        };
        let (pass, dtype) = (text(&self.about.pass), text(&self.about.dtype));
        let ulps = [self.worst_ulp, self.median_ulp].map(figure);
        let about = [Cell::from(self.case.as_str()), Cell::from(adapter), pass, dtype, outcome];
        about.into_iter().chain(ulps).collect()
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn keeps_promises(entry: &Entry<'_>) -> bool {
    PROMISED.iter().all(|key| entry.adapter.properties.get(*key) == Some(&Property::Flag(true)))
}

fn is_of_bytes(limit: &str) -> bool {
    limit.starts_with("max_") && limit.ends_with("_size")
}
