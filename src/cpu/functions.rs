//! Functions that activations are made of, in f32: without branches, tables and calls, so that a loop over them is made of
//! vectors. Errors are in units in the last place, as the tests find them.
//!
//! Coefficients are those of the least largest relative error, from a weighted least-squares fit in f64.

/// Above and below, results leave the range of f32.
const EXPONENTS: [f32; 2] = [-104.0, 89.0];

/// What pushes the fraction out of a number below 2^22, so that its low bits are an integer.
const SHIFT: f32 = 12_582_912.0;

/// The natural logarithm of 2 in two parts, of which the first has so few digits that products with an exponent are exact.
const LN_2: [f32; 2] = [0.691_406_25, 1.740_930_6e-3];

/// `(exp(r) - 1 - r) / r²` for |r| up to 0.42, from the highest power down.
const OF_EXP: [f32; 5] = [1.378_061_7e-3, 8.385_22e-3, 4.167_035_5e-2, 0.166_663_53, 0.499_999_8];

/// `exp(x)`, off by 1.2 units at most.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    exp_of_sum(x, 0.0)
}

/// `exp(high + low)`, where the second is small beside the first, and at most 0.06.
#[inline(always)]
fn exp_of_sum(high: f32, low: f32) -> f32 {
    let [least, most] = EXPONENTS;
    let high = if high < least { least } else { high };
    let high = if high > most { most } else { high };
    let shifted = high * std::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    let r = high - n * LN_2[0] - n * LN_2[1] + low;
    let result = 1.0 + (r + r * r * polynomial(r, &OF_EXP));
    // Of two steps the first stays in range.
    let exponent = shifted.to_bits().wrapping_sub(SHIFT.to_bits()).cast_signed();
    let half = exponent >> 1;
    result * power_of_two(half) * power_of_two(exponent.wrapping_sub(half))
}

#[inline(always)]
fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits((exponent.wrapping_add(127) << 23).cast_unsigned())
}

#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: &[f32; N]) -> f32 {
    coefficients.iter().fold(0.0, |sum, coefficient| sum * x + coefficient)
}

/// `1 / (1 + exp(-y))` and what it lacks to 1; both keep their digits however small they are, but for 3 units.
#[inline(always)]
pub(super) fn sigmoid(y: f32) -> [f32; 2] {
    let e = exp(-y.abs());
    let larger = 1.0 / (1.0 + e);
    let smaller = e * larger;
    if y < 0.0 { [smaller, larger] } else { [larger, smaller] }
}

/// Nearer to 0 the share of a normal variable is taken about a half.
const NEAR: f32 = 1.0;

/// Beyond, `exp(-y² / 2)` is 0.
const FAR: f32 = 15.0;

/// `(Φ(y) - 1/2) / y` by powers of y², up to [`NEAR`], from the highest power down.
const OF_NEAR: [f32; 6] = [-7.592_083e-6, 1.133_439_7e-4, -1.186_217_4e-3, 9.973_288e-3, -6.649_036e-2, 0.398_942_3];

/// `(1 - Φ(t)) exp(t² / 2) (t + 3)` by powers of `(t - 3) / (t + 3)`, from [`NEAR`] on, from the highest power down.
const OF_TAIL: [f32; 8] = [
    -1.015_791_9e-3,
    9.042_252e-4,
    6.981_673e-3,
    -1.044_263_9e-2,
    -4.726_51e-2,
    0.230_016_62,
    -0.509_331_9,
    0.729_083_7,
];

/// The share `Φ(y)` of a normal variable below y, and `exp(-y² / 2)`. The share keeps its digits however small it is: it is off
/// by 1.3 units above 0, by 5 below.
#[inline(always)]
pub(super) fn normal(y: f32) -> [f32; 2] {
    let t = y.abs();
    let t = if t > FAR { FAR } else { t };
    // Half of the digits, whose square is exact; of a rounded square the exponential would lose as many digits as it has.
    let head = f32::from_bits(t.to_bits() & 0xffff_f000);
    let bell = exp_of_sum(-0.5 * head * head, -0.5 * (t - head) * (t + head));
    let reciprocal = 1.0 / (t + 3.0);
    let tail = bell * reciprocal * polynomial((t - 3.0) * reciprocal, &OF_TAIL);
    let far = if y < 0.0 { tail } else { 1.0 - tail };
    let near = 0.5 + y * polynomial(y * y, &OF_NEAR);
    [if t < NEAR { near } else { far }, bell]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `step`th number of those from `from` up to `to`, both of one sign, by their bits.
    fn numbers([from, to]: [f32; 2], step: usize) -> impl Iterator<Item = f32> {
        let (a, b) = (from.to_bits(), to.to_bits());
        (a.min(b)..=a.max(b)).step_by(step).map(f32::from_bits)
    }

    /// How far off `got` is, in units of the last place of `want`.
    fn units(got: f32, want: f64) -> f64 {
        let least = f64::from(f32::from_bits(1));
        let last_place = 2f64.powf(want.abs().log2().floor().max(-126.0) - 23.0).max(least);
        (f64::from(got) - want).abs() / last_place
    }

    /// Panics where `f` is further off than `most`, and where that is more than twice what is found.
    fn check(name: &str, range: [f32; 2], most: f64, f: impl Fn(f32) -> f32, want: impl Fn(f64) -> f64) {
        let worst = numbers(range, 997).map(|x| (units(f(x), want(x.into())), x)).max_by(|a, b| a.0.total_cmp(&b.0));
        let (worst, at) = worst.expect("there are numbers");
        assert!(worst <= most && most <= 2.0 * worst, "{name} is {worst} units off at {at}, {most} are said");
    }

    fn share(y: f64) -> f64 {
        0.5 * libm::erfc(-y * std::f64::consts::FRAC_1_SQRT_2)
    }

    #[test]
    fn functions_are_off_by_as_many_units_as_they_say() {
        check("exp", [1e-30, 88.7], 1.2, exp, f64::exp);
        check("exp", [-1e-30, -103.9], 1.2, exp, f64::exp);
        let logistic = |y: f64| 1.0 / (1.0 + (-y).exp());
        check("sigmoid", [1e-30, 200.0], 1.5, |y| sigmoid(y)[0], logistic);
        check("sigmoid", [-1e-30, -103.0], 3.0, |y| sigmoid(y)[0], logistic);
        check("what a sigmoid lacks", [1e-30, 103.0], 3.0, |y| sigmoid(y)[1], |y| logistic(-y));
        check("normal", [1e-30, 40.0], 1.3, |y| normal(y)[0], share);
        check("normal", [-1e-30, -14.0], 5.0, |y| normal(y)[0], share);
        check("bell", [1e-30, 14.0], 1.2, |y| normal(y)[1], |y| (-0.5 * y * y).exp());
    }

    #[test]
    fn what_is_not_finite_goes_where_it_should() {
        assert_eq!([exp(f32::INFINITY), exp(f32::NEG_INFINITY), exp(-0.0)], [f32::INFINITY, 0.0, 1.0], "exp");
        assert_eq!([sigmoid(f32::INFINITY), sigmoid(f32::NEG_INFINITY)], [[1.0, 0.0], [0.0, 1.0]], "sigmoid");
        assert_eq!([normal(f32::INFINITY), normal(f32::NEG_INFINITY)], [[1.0, 0.0], [0.0, 0.0]], "normal");
        let quiet = f32::from_bits(0x7f80_0001);
        for nan in [f32::NAN, -f32::NAN, quiet] {
            let all = [exp(nan), sigmoid(nan)[0], sigmoid(nan)[1], normal(nan)[0], normal(nan)[1]];
            assert!(all.iter().all(|result| result.is_nan()), "{all:?}");
        }
    }
}
