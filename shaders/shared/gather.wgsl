// Joins what the LANES lanes of an item hold: a butterfly, so every lane ends with the same bits, and the same ones
// whichever way lanes meet. Neighbours within reach meet first, by shuffles where there are any; where there are more
// lanes, one of each neighbourhood then meets those of the others. Steps are written out, so that a compiler sees which
// of them there are: where lanes meet by shuffles alone no barrier is left.

fn gather_sum(value: f32) -> f32 {
    return far_sums(vec4<f32>(near_sum(value, 1u, reach()), 0.0, 0.0, 0.0), 1u, LANES).x;
}

fn gather_sums(values: vec2<f32>) -> vec2<f32> {
    return gather_beside(values, LANES);
}

// Of so many lanes side by side, a power of two.
fn gather_beside(values: vec2<f32>, lanes: u32) -> vec2<f32> {
    let near = min(lanes, reach());
    return far_sums(vec4<f32>(near_sum(values.x, 1u, near), near_sum(values.y, 1u, near), 0.0, 0.0), 1u, lanes).xy;
}

fn gather_four(values: vec4<f32>) -> vec4<f32> {
    return gather_apart(values, 1u);
}

// Of every so many-th lane, a power of two; the lanes between them meet their own.
fn gather_apart(values: vec4<f32>, apart: u32) -> vec4<f32> {
    return far_sums(near_sums(values, apart, reach()), apart, LANES);
}

// Over every so many-th of so many neighbours, powers of two within reach.
fn near_sum(value: f32, apart: u32, neighbours: u32) -> f32 {
    var all = value;
    all = with_neighbour(all, 1u, apart, neighbours);
    all = with_neighbour(all, 2u, apart, neighbours);
    all = with_neighbour(all, 4u, apart, neighbours);
    all = with_neighbour(all, 8u, apart, neighbours);
    all = with_neighbour(all, 16u, apart, neighbours);
    all = with_neighbour(all, 32u, apart, neighbours);
    return with_neighbour(all, 64u, apart, neighbours);
}

fn with_neighbour(value: f32, mask: u32, apart: u32, neighbours: u32) -> f32 {
    if mask < apart || mask >= neighbours {
        return value;
    }
    return value + neighbour(value, mask);
}

fn near_sums(values: vec4<f32>, apart: u32, neighbours: u32) -> vec4<f32> {
    return vec4<f32>(
        near_sum(values.x, apart, neighbours),
        near_sum(values.y, apart, neighbours),
        near_sum(values.z, apart, neighbours),
        near_sum(values.w, apart, neighbours),
    );
}

// Over so many lanes, of what every so many-th neighbour within reach holds alike.
fn far_sums(near: vec4<f32>, apart: u32, lanes: u32) -> vec4<f32> {
    if lanes <= reach() {
        return near;
    }
    let handed_on = lanes / reach() * apart;
    if handed_on <= reach() {
        return near_sums(some_of_each(near, apart, lanes), apart, handed_on);
    }
    var all = near;
    all = with_partner(all, 1u, apart, lanes);
    all = with_partner(all, 2u, apart, lanes);
    all = with_partner(all, 4u, apart, lanes);
    all = with_partner(all, 8u, apart, lanes);
    all = with_partner(all, 16u, apart, lanes);
    all = with_partner(all, 32u, apart, lanes);
    all = with_partner(all, 64u, apart, lanes);
    all = with_partner(all, 128u, apart, lanes);
    all = with_partner(all, 256u, apart, lanes);
    return with_partner(all, 512u, apart, lanes);
}

fn is_far(mask: u32, lanes: u32) -> bool {
    return mask >= reach() && mask < lanes;
}

fn with_partner(values: vec4<f32>, mask: u32, apart: u32, lanes: u32) -> vec4<f32> {
    if mask < apart || !is_far(mask, lanes) {
        return values;
    }
    return values + partner(values, mask);
}

fn sums(values: vec4<f32>) -> f32 {
    return (values.x + values.y) + (values.z + values.w);
}

fn gather_moments(lane: u32, value: Moments) -> Moments {
    let near = near_moments(lane, value, reach());
    if LANES <= reach() {
        return near;
    }
    let neighbourhoods = LANES / reach();
    if neighbourhoods <= reach() {
        return near_moments(lane, moments_of(some_of_each(four_of(near), 1u, LANES)), neighbourhoods);
    }
    var all = near;
    all = merged_with_partner(all, lane, 1u);
    all = merged_with_partner(all, lane, 2u);
    all = merged_with_partner(all, lane, 4u);
    all = merged_with_partner(all, lane, 8u);
    all = merged_with_partner(all, lane, 16u);
    all = merged_with_partner(all, lane, 32u);
    all = merged_with_partner(all, lane, 64u);
    all = merged_with_partner(all, lane, 128u);
    all = merged_with_partner(all, lane, 256u);
    return merged_with_partner(all, lane, 512u);
}

fn near_moments(lane: u32, value: Moments, neighbours: u32) -> Moments {
    var all = value;
    all = merged_with_neighbour(all, lane, 1u, neighbours);
    all = merged_with_neighbour(all, lane, 2u, neighbours);
    all = merged_with_neighbour(all, lane, 4u, neighbours);
    all = merged_with_neighbour(all, lane, 8u, neighbours);
    all = merged_with_neighbour(all, lane, 16u, neighbours);
    all = merged_with_neighbour(all, lane, 32u, neighbours);
    return merged_with_neighbour(all, lane, 64u, neighbours);
}

fn merged_with_neighbour(own: Moments, lane: u32, mask: u32, neighbours: u32) -> Moments {
    if mask >= neighbours {
        return own;
    }
    let met = vec4<f32>(
        neighbour(own.head, mask),
        neighbour(own.tail, mask),
        neighbour(own.squares, mask),
        neighbour(own.count, mask),
    );
    return merged_in_order(own, moments_of(met), (lane & mask) == 0u);
}

fn merged_with_partner(own: Moments, lane: u32, mask: u32) -> Moments {
    if !is_far(mask, LANES) {
        return own;
    }
    return merged_in_order(own, moments_of(partner(four_of(own), mask)), (lane & mask) == 0u);
}

// Chan's formula is not symmetric in its roundings: the lower lane always comes first.
fn merged_in_order(own: Moments, other: Moments, is_lower: bool) -> Moments {
    let ours = four_of(own);
    let theirs = four_of(other);
    return merge(moments_of(select(theirs, ours, is_lower)), moments_of(select(ours, theirs, is_lower)));
}
