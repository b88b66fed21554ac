//! How long something takes: warm-up, batches long enough to be timed, the median and how far they spread.

use std::time::{Duration, Instant};

/// Batches that are timed.
const BATCHES: usize = 11;
/// Time that a batch takes at least, so that the clock and what surrounds it do not count.
const LEAST: Duration = Duration::from_millis(20);
/// Calls of a batch at most.
const MOST_CALLS: u32 = 1 << 14;

/// Seconds a call takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time {
    pub(crate) median: f64,
    /// Half the distance between the quartiles, as a share of the median.
    pub(crate) spread: f64,
}

/// Batches of so many calls: the wall clock's seconds of each, and what else a batch told of itself.
#[derive(Debug)]
pub(crate) struct Batches<T> {
    pub(crate) calls: u32,
    pub(crate) each: Vec<(f64, T)>,
}

/// Times `batch`, which makes so many calls and returns when they are done.
pub(crate) fn time<E>(mut batch: impl FnMut(u32) -> Result<(), E>) -> Result<Time, E> {
    let timed = |calls| {
        let begin = Instant::now();
        batch(calls).map(|()| (begin.elapsed(), ()))
    };
    batches(timed).map(|batches| batches.wall())
}

/// Batches of as many calls as can be timed. `batch` makes so many and says how long they took: what it does before
/// and after, such as reading another clock, is its own affair.
pub(crate) fn batches<T, E>(mut batch: impl FnMut(u32) -> Result<(Duration, T), E>) -> Result<Batches<T>, E> {
    batch(1)?;
    let mut calls = 1;
    while calls < MOST_CALLS {
        let (took, _) = batch(calls)?;
        if took >= LEAST {
            break;
        }
        let factor = (LEAST.as_secs_f64() / took.as_secs_f64().max(1e-9)).ceil().clamp(2.0, 64.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 2 to 64")]
        let factor = factor as u32;
        calls = (calls * factor).min(MOST_CALLS);
    }
    batches_of(calls, batch)
}

/// Batches of a given number of calls.
pub(crate) fn batches_of<T, E>(
    calls: u32,
    mut batch: impl FnMut(u32) -> Result<(Duration, T), E>,
) -> Result<Batches<T>, E> {
    let mut timed = || batch(calls).map(|(took, told)| (took.as_secs_f64(), told));
    let each = (0..BATCHES).map(|_| timed()).collect::<Result<_, _>>()?;
    Ok(Batches { calls, each })
}

impl<T> Batches<T> {
    /// What the wall clock says of a call.
    pub(crate) fn wall(&self) -> Time {
        self.per_call(self.each.iter().map(|(seconds, _)| *seconds).collect())
    }

    /// The time of a call, where batches took so long.
    pub(crate) fn per_call(&self, batches: Vec<f64>) -> Time {
        Time::of(batches.into_iter().map(|seconds| seconds / f64::from(self.calls)).collect())
    }
}

impl Time {
    /// What so many times as much takes.
    pub(crate) fn times(self, factor: f64) -> Self {
        Self { median: self.median * factor, ..self }
    }

    fn of(mut each: Vec<f64>) -> Self {
        each.sort_by(f64::total_cmp);
        let at = |quarter: usize| each.get(each.len().saturating_sub(1) * quarter / 4).copied().unwrap_or(0.0);
        Self { median: at(2), spread: (at(3) - at(1)) / 2.0 / at(2).max(f64::MIN_POSITIVE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_half_the_quartiles_distance() {
        let time = Time::of(vec![5.0, 1.0, 4.0, 2.0, 3.0]);
        assert!((time.median - 3.0).abs() < 1e-12 && (time.spread - 1.0 / 3.0).abs() < 1e-12, "{time:?}");
    }

    #[test]
    fn a_batch_grows_until_it_can_be_timed() {
        let mut most = 0;
        let time = time(|calls| {
            most = most.max(calls);
            std::thread::sleep(Duration::from_micros(500) * calls);
            Ok::<(), ()>(())
        });
        assert!(most > 8, "{most} calls");
        assert!(time.expect("nothing fails").median > 4e-4, "{time:?}");
    }

    #[test]
    fn a_batch_says_itself_how_long_it_took() {
        let batches = batches_of(4, |calls| Ok::<_, ()>((Duration::from_secs(8), calls))).expect("nothing fails");
        assert!((batches.wall().median - 2.0).abs() < 1e-12, "{batches:?}");
        assert!(batches.each.iter().all(|(_, calls)| *calls == 4), "{batches:?}");
    }
}
