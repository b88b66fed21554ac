// What the apply step needs of a statistic: (head, tail, rstd, variance).

// inverseSqrt may be 2 units off; one step of Newton's method mends it, except where it is 0 or infinite.
fn rstd_of(variance: f32) -> f32 {
    let v = variance + epsilon();
    let r = inverseSqrt(v);
    let better = r * (1.5 - 0.5 * (v * r) * r);
    // Not `better > 0`: a NaN has to stay one.
    return select(better, r, v == 0.0 || r == 0.0);
}

// Moves what it can of the tail into the head, so that the head is the mean in f32 and the difference to it
// is as precise as the element itself: Knuth's exact sum. `task.zero` is 0, which no compiler knows, so none
// can reason that the difference of the sum and its parts is nothing.
fn centre(head: f32, tail: f32) -> vec2<f32> {
    let sum = bitcast<f32>(bitcast<u32>(head + tail) ^ task.zero);
    let moved = bitcast<f32>(bitcast<u32>(sum - head) ^ task.zero);
    return vec2<f32>(sum, (head - (sum - moved)) + (tail - moved));
}

fn statistics_of(moments: Moments) -> vec4<f32> {
    let variance = moments.squares / task.divisor;
    return vec4<f32>(centre(moments.head, moments.tail), rstd_of(variance), variance);
}
