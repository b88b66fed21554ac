// What reaches the variance and the mean that a group was normalized by, from the sums of (products, gradients) over it.
fn of_mixture(sums: vec2<f32>, rstd: f32) -> vec2<f32> {
    return vec2<f32>(-0.5 * rstd * rstd * sums.x, -rstd * sums.y);
}
