use super::element::Element;
use super::parallel::{self, TASK};
use crate::tensor::Data;
use half::{bf16, f16};

/// Adds `residual` to `input`; the sum is rounded once, as it is stored.
pub(super) fn add(input: &Data, residual: &Data, sum: &mut Data) {
    match (input, residual, sum) {
        (Data::F32(x), Data::F32(r), Data::F32(sum)) => add_stored(x, r, sum),
        (Data::F16(x), Data::F16(r), Data::F16(sum)) => add_stored::<f16>(x, r, sum),
        (Data::Bf16(x), Data::Bf16(r), Data::Bf16(sum)) => add_stored::<bf16>(x, r, sum),
        _ => debug_assert!(false, "the caller checks that all have the plan's type"),
    }
}

/// Values that one step widens.
const STEP: usize = 1024;

fn add_stored<T: Element>(input: &[T], residual: &[T], sum: &mut [T]) {
    parallel::each_chunk(parallel::threads(input.len()), sum, TASK, |task, sum| {
        let [mut x, mut r, mut results] = [[0f32; STEP]; 3];
        let mut at = task * TASK;
        for to in sum.chunks_mut(STEP) {
            let (x, r) = (&mut x[..to.len()], &mut r[..to.len()]);
            T::widen(&input[at..at + to.len()], x);
            T::widen(&residual[at..at + to.len()], r);
            let target = T::target(to, &mut results, None);
            for ((target, x), r) in target.iter_mut().zip(x).zip(r) {
                *target = *x + *r;
            }
            at += to.len();
            T::finish(to, &results, None);
        }
    });
}
