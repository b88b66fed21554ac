//! The gradient of one element of the input, folded and step by step.

use super::gradient_groups::Through;
use super::moments::{Scale, in_normal_range};

/// What a gradient, a distance from the head and neither add: `g * of_gradient - (x - head) * of_distance + offset`.
pub(super) type Folded = [f32; 3];

/// Folds a scale, a weight and what goes through the statistics; and whether that keeps all digits.
#[inline(always)]
pub(super) fn fold(scale: Scale, weight: f32, [mean, variance]: Through) -> (Folded, bool) {
    let Scale { tail, rstd, .. } = scale;
    let (of_gradient, of_distance) = (weight * rstd, rstd * variance * rstd);
    let offset = tail * of_distance - mean * rstd;
    let in_range =
        (in_normal_range(of_gradient) | (weight == 0.0)) & (in_normal_range(of_distance) | (variance == 0.0));
    ([of_gradient, of_distance, offset], in_range & offset.is_finite())
}

#[inline(always)]
pub(super) fn of_folded(x: f32, g: f32, head: f32, [of_gradient, of_distance, offset]: Folded) -> f32 {
    g * of_gradient - (x - head) * of_distance + offset
}

/// From a gradient that has met its weight.
#[inline(always)]
pub(super) fn stepwise(x: f32, weighted: f32, scale: Scale, [mean, variance]: Through) -> f32 {
    let normalized = (x - scale.head - scale.tail) * scale.rstd;
    (weighted - mean - normalized * variance) * scale.rstd
}
