//! How far two tensors are apart.

use serde_json::{Value, json};
use wgpu_norm::{Data, Dtype};

/// The errors of a tensor against the f64 reference's.
#[derive(Debug)]
pub(crate) struct Errors {
    tolerance: Tolerance,
    max_abs: f64,
    /// The largest expected value.
    largest: f64,
    /// The most of an error that is beyond what its own value allows.
    excess: f64,
    worst_ulp: f64,
    median_ulp: f64,
    /// The worst error as a share of what is tolerated; of pieces, where each knows its own largest value alone.
    worst_share: f64,
    pieces: usize,
}

/// What is tolerated, as shares of the value and of the largest one, and what rounding costs near zero.
#[derive(Debug, Clone, Copy)]
struct Tolerance {
    relative: f64,
    of_largest: f64,
    least: f64,
}

impl Tolerance {
    fn of(dtype: Dtype) -> Self {
        let (relative, of_largest) = match dtype {
            Dtype::F32 => (1e-5, 2e-6),
            Dtype::F16 => (2e-3, 1e-4),
            Dtype::Bf16 => (1.6e-2, 1e-4),
        };
        Self { relative, of_largest, least: unit(dtype, 0.0) / 2.0 }
    }

    /// What is tolerated of any value.
    fn of_all(self, largest: f64) -> f64 {
        self.of_largest * largest + self.least
    }

    /// How much of an error is beyond what its value allows.
    fn excess(self, error: f64, want: f64) -> f64 {
        if error == 0.0 {
            0.0
        } else if want.is_finite() {
            error - self.relative * want.abs()
        } else {
            f64::INFINITY
        }
    }
}

impl Errors {
    /// Compares element by element. A NaN matches only a NaN, an infinity only the same one.
    pub(crate) fn of(got: &Data, want: &[f64]) -> Self {
        let dtype = got.dtype();
        let got = got.to_f64();
        let (tolerance, largest) = (Tolerance::of(dtype), largest(want));
        let mut ulps = Ulps::default();
        ulps.add(dtype, &got, want);
        let (worst_ulp, median_ulp) = ulps.worst_and_median().unwrap_or_default();
        let mut errors =
            Self { tolerance, max_abs: 0.0, largest, excess: 0.0, worst_ulp, median_ulp, worst_share: 0.0, pieces: 1 };
        for (&got, &want) in got.iter().zip(want) {
            let error = distance(got, want);
            let bound = tolerance.of_all(largest) + tolerance.relative * want.abs();
            errors.max_abs = errors.max_abs.max(error);
            errors.excess = errors.excess.max(tolerance.excess(error, want));
            errors.worst_share = errors.worst_share.max(share(error, bound));
        }
        errors
    }

    /// Takes in those of another piece of the same tensor. The median is then the greatest of the pieces'.
    pub(super) fn join(self, other: Self) -> Self {
        Self {
            tolerance: self.tolerance,
            max_abs: self.max_abs.max(other.max_abs),
            largest: self.largest.max(other.largest),
            excess: self.excess.max(other.excess),
            worst_ulp: self.worst_ulp.max(other.worst_ulp),
            median_ulp: self.median_ulp.max(other.median_ulp),
            worst_share: self.worst_share.max(other.worst_share),
            pieces: self.pieces + other.pieces,
        }
    }

    /// The worst error as a share of what is tolerated, or no less than it: a piece has not seen the largest value.
    pub(super) fn over_tolerance(&self) -> f64 {
        if self.within_tolerance() { self.worst_share.min(1.0) } else { self.worst_share.max(1f64.next_up()) }
    }

    pub(super) fn within_tolerance(&self) -> bool {
        self.excess <= self.tolerance.of_all(self.largest)
    }

    fn max_relative_to_largest(&self) -> f64 {
        share(self.max_abs, self.largest)
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "max_abs_error": finite(self.max_abs),
            "max_error_over_largest": finite(self.max_relative_to_largest()),
            "worst_ulp": finite(self.worst_ulp),
            "median_ulp": finite(self.median_ulp),
            "worst_error_over_tolerance": finite(self.over_tolerance()),
            "within_tolerance": self.within_tolerance(),
        })
    }

    pub(super) fn line(&self) -> String {
        let of_what = if self.pieces > 1 { "the median of any piece at most" } else { "the median" };
        format!(
            "against the f64 reference: largest error {:.1e} ({:.1e} of the largest output), {:.1} units in the last place at worst, {:.1} in {of_what}",
            self.max_abs,
            self.max_relative_to_largest(),
            self.worst_ulp,
            self.median_ulp
        )
    }
}

/// Errors of any number of tensors in units of the last place, each in those of the type that it is stored in.
#[derive(Debug, Default)]
pub(crate) struct Ulps(Vec<f64>);

impl Ulps {
    /// Takes in another tensor.
    pub(super) fn add(&mut self, dtype: Dtype, got: &[f64], want: &[f64]) {
        // Near zero a unit says nothing: what is left there comes from larger numbers.
        let least = largest(want) / 1024.0;
        let error = |(&got, &want): (&f64, &f64)| share(distance(got, want), unit(dtype, want.abs().max(least)));
        self.0.extend(got.iter().zip(want).map(error));
    }

    /// None where there is no value at all.
    pub(super) fn worst_and_median(mut self) -> Option<(f64, f64)> {
        let worst = self.0.iter().copied().max_by(f64::total_cmp)?;
        let middle = self.0.len() / 2;
        let (_, median, _) = self.0.select_nth_unstable_by(middle, f64::total_cmp);
        Some((worst, *median))
    }
}

/// The largest magnitude that is finite.
fn largest(values: &[f64]) -> f64 {
    values.iter().filter(|x| x.is_finite()).fold(0f64, |most, x| most.max(x.abs()))
}

/// JSON knows no infinity.
fn finite(x: f64) -> Value {
    if x.is_finite() { json!(x) } else { json!(x.to_string()) }
}

/// The absolute difference; infinite where one is NaN or infinite and the other is not the same.
pub(super) fn distance(got: f64, want: f64) -> f64 {
    if got == want || (got.is_nan() && want.is_nan()) {
        0.0
    } else if got.is_finite() && want.is_finite() {
        (got - want).abs()
    } else {
        f64::INFINITY
    }
}

/// `error / bound`, where no error is within any bound, and an infinite one within none: where the expected
/// value is NaN or infinite so is the bound, and their quotient, a NaN, would pass every comparison.
pub(super) fn share(error: f64, bound: f64) -> f64 {
    if error == 0.0 {
        0.0
    } else if error.is_finite() && bound.is_finite() {
        error / bound
    } else {
        f64::INFINITY
    }
}

/// The distance of neighbouring values of a type at x.
fn unit(dtype: Dtype, x: f64) -> f64 {
    let (digits, least) = match dtype {
        Dtype::F32 => (23, -126),
        Dtype::F16 => (10, -14),
        Dtype::Bf16 => (7, -126),
    };
    #[expect(clippy::cast_possible_truncation, reason = "the exponent of an f64 fits")]
    let exponent = if x == 0.0 || !x.is_finite() { least } else { (x.abs().log2().floor() as i32).max(least) };
    2f64.powi(exponent - digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_matches_nan_alone() {
        assert_eq!(distance(f64::NAN, f64::NAN), 0.0);
        assert_eq!(distance(f64::NAN, 1.0), f64::INFINITY);
        assert_eq!(distance(f64::INFINITY, f64::NEG_INFINITY), f64::INFINITY);
        for (got, want) in [(f32::NAN, 1.0), (1.0, f64::NAN), (1.0, f64::INFINITY), (f32::INFINITY, 1.0)] {
            assert!(!Errors::of(&Data::F32(vec![got]), &[want]).within_tolerance(), "{got} is no {want}");
        }
        for same in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(Errors::of(&Data::F32(vec![same]), &[same.into()]).within_tolerance(), "{same} is itself");
        }
    }

    #[test]
    fn what_is_not_finite_is_within_no_bound() {
        for bound in [0.0, 1.0, f64::INFINITY, f64::NAN] {
            assert_eq!(share(f64::INFINITY, bound), f64::INFINITY, "bound {bound}");
            assert_eq!(share(0.0, bound), 0.0, "bound {bound}");
        }
        assert_eq!(share(1.0, f64::NAN), f64::INFINITY, "no bound holds nothing");
    }

    #[test]
    fn numbers_near_zero_are_as_far_apart_as_their_type_has_them() {
        let half = half::f16::from_bits(1);
        assert!(Errors::of(&Data::F16(vec![half]), &[1.5 * half.to_f64()]).within_tolerance(), "half a unit");
        assert!(!Errors::of(&Data::F16(vec![half]), &[1.75 * half.to_f64()]).within_tolerance(), "more");
    }

    #[test]
    fn pieces_are_tolerated_what_the_whole_is() {
        let small = || Errors::of(&Data::F32(vec![1.001]), &[1.0]);
        let large = |off: f32| Errors::of(&Data::F32(vec![1000.0 + off]), &[1000.0]);
        assert!(!small().within_tolerance(), "by itself");
        for joined in [small().join(large(0.0)), large(0.0).join(small())] {
            assert!(joined.within_tolerance(), "2e-6 of 1000 is more than 1e-3");
            assert!(joined.over_tolerance() <= 1.0, "{}", joined.over_tolerance());
        }
        assert!(!small().join(large(0.5)).within_tolerance(), "a wrong piece");
        assert!(!small().join(Errors::of(&Data::F32(vec![f32::NAN]), &[1000.0])).within_tolerance(), "NaN");
    }

    #[test]
    fn errors_are_in_units_of_the_storage() {
        let errors = Errors::of(&Data::F32(vec![1.0 + f32::EPSILON, 2.0, 3.0]), &[1.0, 2.0, 3.0]);
        assert_eq!((errors.worst_ulp, errors.median_ulp), (1.0, 0.0));
    }

    /// By hand: beside 1 neighbours are 2^-23, 2^-10 and 2^-7 apart, beside 1.5 as well, beside 4 four times that.
    #[test]
    fn units_are_those_of_each_tensors_own_type() {
        let of = |dtype, got: &[f64], want: &[f64]| {
            let mut ulps = Ulps::default();
            ulps.add(dtype, got, want);
            ulps.worst_and_median()
        };
        for (dtype, unit) in [(Dtype::F32, 2f64.powi(-23)), (Dtype::F16, 2f64.powi(-10)), (Dtype::Bf16, 2f64.powi(-7))]
        {
            let got = [1.0 + 3.0 * unit, 1.5 - unit, 4.0 + 4.0 * unit, 1.0, 1.0];
            assert_eq!(of(dtype, &got, &[1.0, 1.5, 4.0, 1.0, 1.0]), Some((3.0, 1.0)), "{dtype}");
        }
        // A 1024th of the largest, 2^-10, has the least unit that counts: 2^-33.
        assert_eq!(of(Dtype::F32, &[1.0, 2f64.powi(-32)], &[1.0, 0.0]), Some((2.0, 2.0)));
        assert_eq!(of(Dtype::F32, &[], &[]), None);
        assert_eq!(of(Dtype::F32, &[f64::NAN, 1.0], &[1.0, 1.0]), Some((f64::INFINITY, f64::INFINITY)));
        let mut both = Ulps::default();
        both.add(Dtype::F16, &[1.0 + 2f64.powi(-10)], &[1.0]);
        both.add(Dtype::F32, &[1.0 + 2f64.powi(-10), 1.0], &[1.0, 1.0]);
        assert_eq!(both.worst_and_median(), Some((8192.0, 1.0)), "2^-10 is one unit of the one, 2^13 of the other");
    }
}
