//! Layer normalization of many shapes, where time should grow as smoothly as the bytes do.

use super::row::Row;
use super::workloads::{Workload, rows};
use wgpu_norm::Dtype;
use wgpu_norm::norm::LayerNorm;

/// Elements of every tensor whose rows are swept.
const ELEMENTS: usize = 1 << 22;
/// How many times as much a byte may take as it does at the neighbouring shape.
const CLIFF: f64 = 1.5;

macro_rules! over_last_axis {
    ($name:expr, $rows:expr, $columns:expr) => {
        rows($name, &[$rows, $columns], &[$columns], || Box::new(LayerNorm::new([$columns])))
    };
}

macro_rules! sweep_rows {
    ($($rows:literal)*) => { [$(over_last_axis!(concat!("sweep_rows_", $rows), $rows, ELEMENTS / $rows)),*] };
}

macro_rules! sweep_columns {
    ($($columns:literal)*) => { [$(over_last_axis!(concat!("sweep_columns_", $columns), 4, $columns)),*] };
}

/// As many elements in ever more rows.
static ROWS: [Workload; 11] = sweep_rows!(1 4 16 64 256 1024 4096 16384 65536 262144 1048576);
/// Four rows that get ever longer.
static COLUMNS: [Workload; 10] = sweep_columns!(16 64 256 1024 4096 16384 65536 262144 1048576 4194304);

/// Every workload of the sweeps. They take too long to run unasked.
pub(super) fn workloads() -> impl Iterator<Item = &'static Workload> {
    ROWS.iter().chain(&COLUMNS)
}

/// Which length is swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sweep {
    Rows,
    Columns,
}

/// A sweep on one place.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) sweep: Sweep,
    pub(super) dtype: Dtype,
    pub(super) backward: bool,
    pub(super) adapter: String,
    pub(super) points: Vec<Point>,
}

/// A shape of a sweep.
#[derive(Debug, Clone)]
pub(super) struct Point {
    /// Rows or columns.
    pub(super) length: usize,
    /// Of the tensor.
    pub(super) bytes: u64,
    pub(super) time: f64,
    /// Of a copy that moves as many bytes as the pass.
    pub(super) copy: f64,
    /// None on the CPU.
    pub(super) with_transfer: Option<f64>,
    pub(super) strategy: &'static str,
}

impl Point {
    /// How many times as much of a time as at another point this is by the byte.
    fn times(&self, other: &Self, time: impl Fn(&Self) -> f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "no tensor has 2^53 bytes")]
        let a_byte = |point: &Self| time(point) / point.bytes as f64;
        a_byte(self) / a_byte(other)
    }
}

impl Sweep {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Columns => "columns",
        }
    }

    /// The sweep that a workload is of, and its length there.
    pub(super) fn of(workload: &Workload) -> Option<(Self, usize)> {
        let is_in = |sweep: &[Workload]| sweep.iter().any(|one| one.name == workload.name);
        match workload.shape {
            [rows, _] if is_in(&ROWS) => Some((Self::Rows, *rows)),
            [_, columns] if is_in(&COLUMNS) => Some((Self::Columns, *columns)),
            _ => None,
        }
    }
}

/// The sweeps among what was measured.
pub(super) fn lines(measured: &[Row]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for row in measured {
        let (Some((sweep, length)), Some(figures)) = (Sweep::of(row.workload), row.figures()) else { continue };
        let point = Point {
            length,
            bytes: row.workload.shape.iter().product::<usize>() as u64 * row.dtype.size() as u64,
            time: figures.time.median,
            copy: figures.copy,
            with_transfer: figures.on_device.as_ref().map(|on| on.with_transfer.median),
            strategy: figures.strategy,
        };
        let is_here = |line: &&mut Line| {
            (line.sweep, line.dtype, line.backward) == (sweep, row.dtype, row.backward) && line.adapter == row.adapter
        };
        match lines.iter_mut().find(is_here) {
            Some(line) => line.points.push(point),
            None => lines.push(Line {
                sweep,
                dtype: row.dtype,
                backward: row.backward,
                adapter: row.adapter.clone(),
                points: vec![point],
            }),
        }
    }
    lines
}

impl Line {
    /// What is swept, of which type and pass.
    pub(super) fn title(&self) -> String {
        format!("{} {} {}", self.sweep.name(), self.dtype, if self.backward { "backward" } else { "forward" })
    }

    /// Neighbours of which a byte takes much longer at one than at the other, and how many times as long. Small tensors
    /// take longer by the byte everywhere: where the bytes grow, only what rises is a cliff.
    pub(super) fn cliffs(&self) -> Vec<(&Point, &Point, f64)> {
        let times = |from: &Point, to: &Point| to.times(from, |point| point.time);
        let pairs = self.points.windows(2).filter_map(|pair| match pair {
            [one, next] if one.bytes == next.bytes && times(one, next) < 1.0 => Some((next, one)),
            [one, next] => Some((one, next)),
            _ => None,
        });
        let cliffs = pairs.map(|(from, to)| (from, to, times(from, to)));
        cliffs.filter(|(_, _, times)| *times > CLIFF).collect()
    }

    /// A line of text for each cliff, with what a copy shows there: a tensor that outgrows a cache is slower to copy, too.
    pub(super) fn cliffs_told(&self) -> Vec<String> {
        let what = self.sweep.name();
        let tell = |(from, to, times): (&Point, &Point, f64)| {
            format!(
                "cliff: {} on {}: a byte takes {times:.1} times as long at {} {what} ({}) as at {} ({}); copied, {:.1}",
                self.title(),
                self.adapter,
                to.length,
                to.strategy,
                from.length,
                from.strategy,
                to.times(from, |point| point.copy)
            )
        };
        self.cliffs().into_iter().map(tell).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[(usize, u64, f64)]) -> Line {
        let point = |&(length, bytes, time): &(usize, u64, f64)| Point {
            length,
            bytes,
            time,
            copy: 0.5,
            with_transfer: None,
            strategy: if length < 8 { "split" } else { "resident" },
        };
        let points = points.iter().map(point).collect();
        Line { sweep: Sweep::Rows, dtype: Dtype::F32, backward: false, adapter: "a".into(), points }
    }

    #[test]
    fn sweeps_are_of_the_shapes_in_their_names() {
        for workload in workloads() {
            let (sweep, length) = Sweep::of(workload).expect("part of a sweep");
            assert_eq!(workload.name, format!("sweep_{}_{length}", sweep.name()));
            let elements: usize = workload.shape.iter().product();
            assert_eq!(elements, if sweep == Sweep::Rows { ELEMENTS } else { 4 * length }, "{}", workload.name);
        }
    }

    #[test]
    fn what_takes_much_longer_by_the_byte_than_its_neighbour_is_a_cliff() {
        let of = |points: &[_]| line(points).cliffs().iter().map(|(a, b, _)| (a.length, b.length)).collect::<Vec<_>>();
        assert_eq!(of(&[(1, 4, 1.0), (2, 8, 2.0), (3, 16, 6.4)]), [(2, 3)]);
        assert_eq!(of(&[(1, 4, 1.0), (2, 8, 1.0), (3, 16, 1.0)]), [], "what is small takes longer by the byte");
        assert_eq!(of(&[(1, 8, 4.0), (2, 8, 1.0), (3, 8, 1.4)]), [(2, 1)], "as many bytes: either way");
        assert_eq!(of(&[(1, 8, 4.0)]), []);
        let mut both = line(&[(4, 8, 4.0), (16, 8, 1.0)]);
        both.points[1].copy = 0.25;
        let want = "cliff: rows f32 forward on a: a byte takes 4.0 times as long at 4 rows (split) as at 16 (resident); \
                    copied, 2.0";
        assert_eq!(both.cliffs_told(), [want]);
    }
}
