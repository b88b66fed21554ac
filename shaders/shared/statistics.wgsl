// What the apply step needs of a statistic: (head, tail, rstd, variance).

// Moves what it can of the tail into the head, so that the head is the mean in f32 and the difference to it
// is as precise as the element itself: Knuth's exact sum. All but the last addition are hidden, or a compiler reasons that
// the difference of the sum and its parts is nothing.
fn centre(head: f32, tail: f32) -> vec2<f32> {
    let sum = hidden(head + tail);
    let moved = hidden(sum - head);
    let left_of_head = hidden(head - hidden(sum - moved));
    return vec2<f32>(sum, left_of_head + (tail - moved));
}

fn statistics_of(moments: Moments) -> vec4<f32> {
    let variance = moments.squares / task.divisor;
    return vec4<f32>(centre(moments.head, moments.tail), rstd_of(variance), variance);
}
