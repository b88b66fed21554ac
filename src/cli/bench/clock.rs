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

/// Times `batch`, which makes so many calls and returns when they are done.
pub(crate) fn time<E>(mut batch: impl FnMut(u32) -> Result<(), E>) -> Result<Time, E> {
    let mut timed = |calls| {
        let begin = Instant::now();
        batch(calls).map(|()| begin.elapsed())
    };
    timed(1)?;
    let mut calls = 1;
    while calls < MOST_CALLS {
        let took = timed(calls)?;
        if took >= LEAST {
            break;
        }
        let factor = (LEAST.as_secs_f64() / took.as_secs_f64().max(1e-9)).ceil().clamp(2.0, 64.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 2 to 64")]
        let factor = factor as u32;
        calls = (calls * factor).min(MOST_CALLS);
    }
    let mut each = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        each.push(timed(calls)?.as_secs_f64() / f64::from(calls));
    }
    Ok(Time::of(each))
}

impl Time {
    fn of(mut each: Vec<f64>) -> Self {
        each.sort_by(f64::total_cmp);
        let at = |quarter: usize| each[(each.len() - 1) * quarter / 4];
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
}
