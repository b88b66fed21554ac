// What the apply step needs of a statistic: (head, tail, rstd, variance).

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
