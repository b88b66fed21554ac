use crate::plan::{Moments, RunningStatistics};

/// The estimates.
pub(super) fn moments(running: &RunningStatistics) -> Moments {
    let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect();
    Moments { mean: wide(&running.mean), var: wide(&running.var) }
}
