//! Ours and the others, in turn, on every workload.

use crate::peers::{Column, Refusal};
use crate::place::Place;
use crate::task::{TOLERANCE, Task};
use crate::workloads::Workload;
use std::panic::{AssertUnwindSafe, catch_unwind};
use wgpu_norm::{Choice, Engine};

/// Times that everyone comes once, so that what disturbs the machine for a while disturbs all.
const ROUNDS: u32 = 2;

/// A pass of a workload at a place.
pub(crate) struct Row {
    pub(crate) workload: &'static str,
    pub(crate) pass: &'static str,
    pub(crate) place: String,
    pub(crate) cells: Vec<(Column, Cell)>,
}

/// What a library did.
#[derive(Debug)]
pub(crate) enum Cell {
    /// Seconds a call: the mean of the rounds' medians.
    Time(f64),
    /// Something else came out, wrong by this share of the largest expected value.
    Wrong(f64),
    /// Nothing, and why.
    Dash(String),
}

impl Row {
    /// Seconds that a library takes, where it was measured.
    pub(crate) fn time(&self, column: Column) -> Option<f64> {
        self.cells.iter().find_map(|(each, cell)| match cell {
            Cell::Time(seconds) if *each == column => Some(*seconds),
            _ => None,
        })
    }

    pub(crate) fn ours(&self) -> Option<f64> {
        self.time(Column::Ours)
    }

    /// How many times as fast as another library ours is.
    pub(crate) fn ratio(&self, column: Column) -> Option<f64> {
        Some(self.time(column)? / self.ours()?)
    }

    /// The same against the fastest of the others.
    pub(crate) fn best_ratio(&self) -> Option<f64> {
        Column::PEERS.into_iter().filter_map(|column| self.ratio(column)).min_by(f64::total_cmp)
    }
}

/// Makes every row, and tells it when it is there.
pub(crate) fn rows(
    workloads: &[&Workload],
    passes: &[bool],
    places: &mut [Place],
    mut tell: impl FnMut(&Row),
) -> Result<Vec<Row>, String> {
    let reference = pollster::block_on(Engine::open(&Choice::Reference)).map_err(|error| error.to_string())?;
    let mut rows = Vec::new();
    for workload in workloads {
        for &backward in passes {
            let task = Task::new(workload, backward, &reference)?;
            for place in &mut *places {
                let row = row(&task, place);
                tell(&row);
                rows.push(row);
            }
        }
    }
    Ok(rows)
}

fn row(task: &Task, place: &mut Place) -> Row {
    let mut rounds: Vec<Vec<Result<f64, Cell>>> = place.peers.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (peer, rounds) in place.peers.iter_mut().zip(&mut rounds) {
            if rounds.iter().all(Result::is_ok) {
                // A library that gives up by a panic, which says why, does not end the contest.
                let round = catch_unwind(AssertUnwindSafe(|| peer.measure(task)));
                rounds.push(judged(task, round.unwrap_or_else(|_| Err(Refusal::Failed("it panicked".into())))));
            }
        }
    }
    let columns = place.peers.iter().map(|peer| peer.column());
    let cells = columns.zip(rounds).map(|(column, rounds)| (column, mean(rounds))).collect();
    let row = Row { workload: task.name, pass: task.pass(), place: place.name.clone(), cells };
    tell_failures(&row);
    row
}

/// The time of what was right.
fn judged(task: &Task, round: Result<crate::peers::Round, Refusal>) -> Result<f64, Cell> {
    match round {
        Ok(round) => match task.error(&round.results) {
            error if error <= TOLERANCE => Ok(round.seconds),
            error => Err(Cell::Wrong(error)),
        },
        Err(Refusal::Cannot(reason)) => Err(Cell::Dash(reason)),
        Err(Refusal::Failed(reason)) => Err(Cell::Dash(format!("failed: {reason}"))),
    }
}

fn mean(rounds: Vec<Result<f64, Cell>>) -> Cell {
    match rounds.into_iter().collect::<Result<Vec<_>, _>>() {
        Ok(medians) => Cell::Time(medians.iter().sum::<f64>() / f64::from(ROUNDS)),
        Err(cell) => cell,
    }
}

/// What a library cannot do is a dash and no more; what it should have done is worth a line.
fn tell_failures(row: &Row) {
    for (column, cell) in &row.cells {
        let reason = match cell {
            Cell::Dash(reason) if reason.starts_with("failed") => reason.clone(),
            Cell::Wrong(error) => format!("wrong by {error:.1e} of the largest value"),
            _ => continue,
        };
        eprintln!("{} {} at {}: {}: {reason}", row.workload, row.pass, row.place, column.name());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: Vec<(Column, Cell)>) -> Row {
        Row { workload: "w", pass: "forward", place: "cpu".into(), cells }
    }

    #[test]
    fn the_best_of_the_others_counts() {
        let times = |seconds| Cell::Time(seconds);
        let all = row(vec![
            (Column::Ours, times(2.0)),
            (Column::Burn, times(6.0)),
            (Column::Candle, Cell::Wrong(1.0)),
            (Column::Torch, times(3.0)),
        ]);
        assert_eq!((all.ratio(Column::Burn), all.ratio(Column::Candle)), (Some(3.0), None));
        assert_eq!(all.best_ratio(), Some(1.5));
        assert_eq!(row(vec![(Column::Ours, times(2.0))]).best_ratio(), None);
    }

    #[test]
    fn one_round_that_failed_is_no_time() {
        assert!(matches!(mean(vec![Ok(1.0), Ok(3.0)]), Cell::Time(time) if time == 2.0));
        assert!(matches!(mean(vec![Ok(1.0), Err(Cell::Wrong(1.0))]), Cell::Wrong(_)));
    }
}
