// Joins what the LANES lanes of an item hold: a butterfly, so every lane ends with the same bits, and
// the same ones whichever way partners meet. Its steps are written out, up to 256 lanes, so that a compiler
// sees which of them there are: where lanes meet by shuffles alone no barrier is left.

fn gather_four(values: vec4<f32>) -> vec4<f32> {
    var all = values;
    all = with_partner(all, 1u);
    all = with_partner(all, 2u);
    all = with_partner(all, 4u);
    all = with_partner(all, 8u);
    all = with_partner(all, 16u);
    all = with_partner(all, 32u);
    all = with_partner(all, 64u);
    return with_partner(all, 128u);
}

fn with_partner(values: vec4<f32>, mask: u32) -> vec4<f32> {
    if mask >= LANES {
        return values;
    }
    return values + partner(values, mask);
}

fn gather_sum(value: f32) -> f32 {
    return gather_four(vec4<f32>(value, 0.0, 0.0, 0.0)).x;
}

fn gather_sums(values: vec2<f32>) -> vec2<f32> {
    return gather_four(vec4<f32>(values, 0.0, 0.0)).xy;
}

fn sums(values: vec4<f32>) -> f32 {
    return (values.x + values.y) + (values.z + values.w);
}

fn gather_moments(lane: u32, value: Moments) -> Moments {
    var all = value;
    all = merged_with_partner(all, lane, 1u);
    all = merged_with_partner(all, lane, 2u);
    all = merged_with_partner(all, lane, 4u);
    all = merged_with_partner(all, lane, 8u);
    all = merged_with_partner(all, lane, 16u);
    all = merged_with_partner(all, lane, 32u);
    all = merged_with_partner(all, lane, 64u);
    return merged_with_partner(all, lane, 128u);
}

// Chan's formula is not symmetric in its roundings: the lower lane always comes first.
fn merged_with_partner(own: Moments, lane: u32, mask: u32) -> Moments {
    if mask >= LANES {
        return own;
    }
    let met = partner(vec4<f32>(own.head, own.tail, own.squares, own.count), mask);
    let other = Moments(met.x, met.y, met.z, met.w);
    if (lane & mask) == 0u {
        return merge(own, other);
    }
    return merge(other, own);
}
