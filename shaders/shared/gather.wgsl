// Joins what the LANES lanes of an item hold: a butterfly, so every lane ends with the same bits, and the same ones
// whichever way lanes meet. Neighbours within reach meet first, by shuffles where there are any; where there are more
// lanes, one of each neighbourhood then meets those of the others. Steps are loops whose ends a compiler knows, so that
// it writes them out: where lanes meet by shuffles alone no barrier is left. Written out here, with those that a variant has
// no use for, they were more than half of what software adapters compiled.

// How often one doubles to this power of two.
fn doublings(power: u32) -> u32 {
    return firstTrailingBit(power);
}

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
    for (var step = doublings(apart); step < doublings(neighbours); step++) {
        all += neighbour(all, 1u << step);
    }
    return all;
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
    for (var step = doublings(max(apart, reach())); step < doublings(lanes); step++) {
        all += partner(all, 1u << step);
    }
    return all;
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
    for (var step = doublings(reach()); step < doublings(LANES); step++) {
        all = merged_in_order(all, moments_of(partner(four_of(all), 1u << step)), step, lane);
    }
    return all;
}

fn near_moments(lane: u32, value: Moments, neighbours: u32) -> Moments {
    var all = value;
    for (var step = 0u; step < doublings(neighbours); step++) {
        all = merged_in_order(all, neighbouring(all, 1u << step), step, lane);
    }
    return all;
}

fn neighbouring(moments: Moments, mask: u32) -> Moments {
    return Moments(
        neighbour(moments.head, mask),
        neighbour(moments.tail, mask),
        neighbour(moments.squares, mask),
        neighbour(moments.count, mask),
    );
}

// Chan's formula is not symmetric in its roundings: the lower lane always comes first.
fn merged_in_order(own: Moments, other: Moments, step: u32, lane: u32) -> Moments {
    let is_lower = extractBits(lane, step, 1u) == 0u;
    let ours = four_of(own);
    let theirs = four_of(other);
    return merge(moments_of(select(theirs, ours, is_lower)), moments_of(select(ours, theirs, is_lower)));
}
