//! Short runs side by side, a lane each: what is done to one is done to all of them at once.

use super::moments::Scale;
use super::row_kernels::{FEW, halved};
use std::hint::black_box;

/// Runs that lie side by side.
pub(super) const SIDE_BY_SIDE: usize = 16;

/// An element of each of `N` runs.
pub(super) type Lanes<const N: usize> = [f32; N];

/// Puts `N` runs that follow each other side by side, as many elements of each as there are `lanes`.
#[inline(always)]
pub(super) fn side_by_side<const N: usize>(runs: &[f32], lanes: &mut [Lanes<N>]) {
    for (k, run) in runs.chunks_exact(lanes.len()).enumerate() {
        lanes.iter_mut().zip(run).for_each(|(lane, x)| lane[k] = *x);
    }
}

/// Writes runs one after the other.
#[inline(always)]
pub(super) fn one_after_another<const N: usize>(lanes: &[Lanes<N>], runs: &mut [f32]) {
    for (k, run) in runs.chunks_exact_mut(lanes.len()).enumerate() {
        run.iter_mut().zip(lanes).for_each(|(x, lane)| *x = lane[k]);
    }
}

/// Lane by lane what [`total`](super::row_kernels::total) is of one.
#[inline(always)]
pub(super) fn totals<const N: usize, const L: usize>(mut sums: [Lanes<N>; L]) -> Lanes<N> {
    let mut half = L / 2;
    while half > 0 {
        for i in 0..half {
            let (into, from) = sums.split_at_mut(i + half);
            into[i].iter_mut().zip(&from[0]).for_each(|(sum, other)| *sum += other);
        }
        half /= 2;
    }
    sums[0]
}

/// Lanes that a run's sums have left when these are put side by side.
pub(super) const HALF: usize = FEW / 2;

/// As far as [`total`](super::row_kernels::total) goes within vectors.
#[inline(always)]
pub(super) fn half_of<const L: usize>(lanes: [f32; L]) -> [f32; HALF] {
    let mut half = [0.0; HALF];
    half.copy_from_slice(&halved(lanes, HALF)[..HALF]);
    half
}

/// The totals of each run's lanes. These are hidden from the compiler, which would take elements of all runs together from
/// the start, each from its place.
#[inline(always)]
pub(super) fn added_up<const N: usize>(runs: &[[f32; HALF]; N]) -> Lanes<N> {
    let mut lanes = [[0.0; N]; HALF];
    side_by_side(black_box(runs).as_flattened(), &mut lanes);
    totals(lanes)
}

/// What normalizes each of `N` runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scales<const N: usize> {
    pub(super) heads: Lanes<N>,
    pub(super) tails: Lanes<N>,
    pub(super) rstds: Lanes<N>,
}

impl<const N: usize> Scales<N> {
    /// Before any of them is known. They are set in a loop, since a closure may stay a call for each run.
    pub(super) const UNKNOWN: Self = Self { heads: [0.0; N], tails: [0.0; N], rstds: [0.0; N] };

    #[inline(always)]
    pub(super) fn set(&mut self, k: usize, scale: Scale) {
        Scale { head: self.heads[k], tail: self.tails[k], rstd: self.rstds[k] } = scale;
    }

    /// Heads, tails and rstds.
    #[inline(always)]
    pub(super) fn each(&self) -> [&[f32]; 3] {
        [&self.heads, &self.tails, &self.rstds]
    }

    #[inline(always)]
    pub(super) fn get(&self, k: usize) -> Scale {
        Scale { head: self.heads[k], tail: self.tails[k], rstd: self.rstds[k] }
    }
}
