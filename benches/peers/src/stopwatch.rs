//! The clock's method for what needs preparing before each call, which is not to be timed.

use std::time::Duration;

/// As the clock has them.
const BATCHES: usize = 11;
const LEAST: Duration = Duration::from_millis(20);
const MOST_CALLS: u32 = 1 << 14;

/// The median of the seconds that a call takes. `batch` makes so many calls and says how long they took.
pub(crate) fn time<E>(mut batch: impl FnMut(u32) -> Result<Duration, E>) -> Result<f64, E> {
    batch(1)?;
    let mut calls = 1;
    while calls < MOST_CALLS {
        let took = batch(calls)?;
        if took >= LEAST {
            break;
        }
        let factor = LEAST.as_nanos().div_ceil(took.as_nanos().max(1)).clamp(2, 64);
        calls = calls.saturating_mul(u32::try_from(factor).unwrap_or(64)).min(MOST_CALLS);
    }
    let mut each = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        each.push(batch(calls)?.as_secs_f64() / f64::from(calls));
    }
    each.sort_by(f64::total_cmp);
    Ok(each[BATCHES / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prepares_is_not_timed() {
        let second = time(|calls| {
            std::thread::sleep(Duration::from_millis(1));
            Ok::<_, ()>(Duration::from_millis(5) * calls)
        });
        assert!((second.expect("nothing fails") - 0.005).abs() < 1e-9, "{second:?}");
    }
}
