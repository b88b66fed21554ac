// Count, mean and centred sum of squares of some elements (Welford 1962; Chan, Golub & LeVeque 1979).
// The mean is head + tail: the head is one of the elements, the tail the mean of what is left when it
// is taken away. A common offset of the elements is in the head and costs the tail no digits.

struct Moments {
    head: f32,
    tail: f32,
    squares: f32,
    count: f32,
}

fn four_of(moments: Moments) -> vec4<f32> {
    return vec4<f32>(moments.head, moments.tail, moments.squares, moments.count);
}

fn moments_of(four: vec4<f32>) -> Moments {
    return Moments(four.x, four.y, four.z, four.w);
}

fn no_moments() -> Moments {
    return Moments(0.0, 0.0, 0.0, 0.0);
}

// The moments of both. Counts enter as a ratio, so nothing overflows and 2^24 is no border. Where one has no elements the
// other is chosen, not returned: lanes that part ways cost a software adapter more than the formula.
fn merge(first: Moments, second: Moments) -> Moments {
    let count = first.count + second.count;
    let share = second.count / count;
    let delta = hidden(second.head - first.head) + (second.tail - first.tail);
    let both = vec4<f32>(
        first.head,
        first.tail + delta * share,
        first.squares + (second.squares + delta * delta * (first.count * share)),
        count,
    );
    let unless_first = select(both, four_of(second), first.count == 0.0);
    return moments_of(select(unless_first, four_of(first), second.count == 0.0));
}

// What a lane has seen, component by component, about a head that all components share.
struct LaneMoments {
    mean: vec4<f32>,
    squares: vec4<f32>,
    count: vec4<f32>,
}

fn no_lane_moments() -> LaneMoments {
    return LaneMoments(vec4<f32>(), vec4<f32>(), vec4<f32>());
}

fn component(lane: LaneMoments, head: f32, i: u32) -> Moments {
    return Moments(head, lane.mean[i], lane.squares[i], lane.count[i]);
}

fn fold(lane: LaneMoments, head: f32) -> Moments {
    return merge(
        merge(component(lane, head, 0u), component(lane, head, 1u)),
        merge(component(lane, head, 2u), component(lane, head, 3u)),
    );
}
