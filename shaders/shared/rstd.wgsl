// One over the deviation.

// inverseSqrt may be 2 units off; one step of Newton's method mends it, except where it is 0 or infinite. The product is
// hidden, since the square of a small r is less than f32 has.
fn rstd_of(variance: f32) -> f32 {
    let v = variance + epsilon();
    let r = inverseSqrt(v);
    let better = r * (1.5 - 0.5 * hidden(v * r) * r);
    // Not `better > 0`: a NaN has to stay one.
    return select(better, r, v == 0.0 || r == 0.0 || r > 3.4e38);
}
