use crate::plan::Statistic;

/// Count, mean and centred sum of squares of some elements; where the statistic is uncentred the mean is zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Moments {
    pub(super) count: f64,
    pub(super) mean: f64,
    pub(super) squares: f64,
}

impl Moments {
    /// The moments of no element.
    pub(super) const NONE: Self = Self { count: 0.0, mean: 0.0, squares: 0.0 };

    /// The moments of a block from f32 sums of `x - head` and of its square; `head` is zero unless `centred`.
    #[inline(always)]
    pub(super) fn about(head: f32, count: f64, sum: f32, squares: f32, centred: bool) -> Self {
        let sum = if centred { f64::from(sum) } else { 0.0 };
        let shift = sum / count;
        Self { count, mean: f64::from(head) + shift, squares: (f64::from(squares) - sum * shift).max(0.0) }
    }

    /// The moments of disjoint sets together, in the order in which they come.
    pub(super) fn merge(parts: impl Iterator<Item = Self> + Clone) -> Self {
        let (mut count, mut sum, mut parts_len) = (0.0, 0.0, 0usize);
        let mut only = Self::NONE;
        for part in parts.clone() {
            count += part.count;
            sum += part.count * part.mean;
            parts_len += 1;
            only = part;
        }
        if parts_len == 1 {
            return only;
        }
        let mean = sum / count;
        let squares = parts.map(|p| p.squares + p.count * (p.mean - mean) * (p.mean - mean)).sum();
        Self { count, mean, squares }
    }

    /// The moments of neighbouring columns of `rows` rows each together, whose order is fixed by their number alone.
    #[inline(always)]
    pub(super) fn of_columns(rows: f64, means: &[f64], squares: &[f64]) -> Self {
        let columns = float(means.len());
        let mean = in_lanes(means, |mean| mean) / columns;
        let between = in_lanes(means, |own| (own - mean) * (own - mean));
        Self { count: rows * columns, mean, squares: in_lanes(squares, |own| own) + rows * between }
    }

    /// The moments of a block whose squares leave the range of f32, in f64 throughout.
    #[cold]
    #[inline(never)]
    #[expect(clippy::float_cmp, reason = "a block is constant when its elements are equal exactly")]
    pub(super) fn in_f64(elements: impl Iterator<Item = f32> + Clone, centred: bool) -> Self {
        let first = elements.clone().next().unwrap_or(0.0);
        let (mut count, mut sum, mut equal) = (0.0, 0.0, first.is_finite());
        for x in elements.clone() {
            count += 1.0;
            sum += f64::from(x);
            equal &= x == first;
        }
        let mean = match (centred, equal) {
            (true, true) => f64::from(first),
            (true, false) => sum / count,
            (false, _) => 0.0,
        };
        let squares = elements.map(|x| (f64::from(x) - mean) * (f64::from(x) - mean)).sum();
        Self { count, mean, squares }
    }

    /// The variance, or the mean square.
    #[inline(always)]
    pub(super) fn variance(self, statistic: Statistic) -> f64 {
        self.squares / statistic.divisor(self.count)
    }
}

/// The sum of `f`, four at a time.
#[inline(always)]
fn in_lanes(values: &[f64], f: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0; 4];
    for chunk in values.chunks(4) {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += f(*value);
        }
    }
    (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
}

/// Whether f32 held a block's sum of squares: no overflow, and no underflow that could matter.
///
/// Below 2⁻¹⁰⁰ the squares of some elements may have been rounded to zero.
#[inline(always)]
pub(super) fn in_range(squares: f32) -> bool {
    const LEAST: f32 = 7.888_609e-31;
    (LEAST..f32::INFINITY).contains(&squares)
}

/// How a statistic is applied: `(x - head - tail) * rstd`, with `head + tail` the mean in twice f32's digits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub(super) head: f32,
    pub(super) tail: f32,
    pub(super) rstd: f32,
}

impl Scale {
    /// From mean and variance in f64.
    #[inline(always)]
    pub(super) fn new(mean: f64, variance: f64, eps: f64) -> Self {
        Self::kept(mean, 1.0 / (variance + eps).sqrt())
    }

    /// From mean and rstd as a forward pass kept them.
    #[inline(always)]
    pub(super) fn kept(mean: f64, rstd: f64) -> Self {
        let head = narrow(mean);
        // An infinite mean has nothing left.
        let tail = if head.is_finite() { narrow(mean - f64::from(head)) } else { 0.0 };
        Self { head, tail, rstd: narrow(rstd) }
    }

    /// Of values that stay as they are.
    pub(super) const NOTHING: Self = Self { head: 0.0, tail: 0.0, rstd: 1.0 };

    /// From measured moments.
    #[inline(always)]
    pub(super) fn of(moments: Moments, statistic: Statistic, eps: f64) -> Self {
        Self::new(moments.mean, moments.variance(statistic), eps)
    }
}

/// Scale, weight and bias as `(x - head) * slope + offset`, and whether that keeps all digits: not where the slope leaves
/// the range of f32, though in steps the result may not.
#[inline(always)]
pub(super) fn fold((tail, rstd): (f32, f32), weight: f32, bias: f32) -> ([f32; 2], bool) {
    let slope = rstd * weight;
    let offset = bias - tail * slope;
    ([slope, offset], (in_normal_range(slope) | (weight == 0.0)) & offset.is_finite())
}

/// Whether f32 has a finite number with all its digits; not zero.
#[inline(always)]
pub(super) fn in_normal_range(x: f32) -> bool {
    (f32::MIN_POSITIVE..f32::INFINITY).contains(&x.abs())
}

/// `x` rounded to f32.
#[expect(clippy::cast_possible_truncation, reason = "rounding is the purpose")]
#[inline(always)]
pub(super) fn narrow(x: f64) -> f32 {
    x as f32
}

/// A count as f64.
#[expect(clippy::cast_precision_loss, reason = "no tensor has 2^53 elements")]
#[inline(always)]
pub(super) fn float(count: usize) -> f64 {
    count as f64
}
