// Joins what the LANES lanes of an item hold: a butterfly, so every lane ends with the same bits, and
// the same ones whichever way partners meet.

fn gather_sum(value: f32) -> f32 {
    var sum = value;
    for (var mask = 1u; mask < LANES; mask = mask << 1u) {
        sum = sum + partner(vec4<f32>(sum), mask).x;
    }
    return sum;
}

fn gather_sums(values: vec2<f32>) -> vec2<f32> {
    var both = values;
    for (var mask = 1u; mask < LANES; mask = mask << 1u) {
        both = both + partner(vec4<f32>(both, 0.0, 0.0), mask).xy;
    }
    return both;
}

fn gather_four(values: vec4<f32>) -> vec4<f32> {
    var all = values;
    for (var mask = 1u; mask < LANES; mask = mask << 1u) {
        all = all + partner(all, mask);
    }
    return all;
}

fn sums(values: vec4<f32>) -> f32 {
    return (values.x + values.y) + (values.z + values.w);
}

fn gather_moments(lane: u32, value: Moments) -> Moments {
    var own = value;
    for (var mask = 1u; mask < LANES; mask = mask << 1u) {
        let met = partner(vec4<f32>(own.head, own.tail, own.squares, own.count), mask);
        let other = Moments(met.x, met.y, met.z, met.w);
        // Chan's formula is not symmetric in its roundings: the lower lane always comes first.
        if (lane & mask) == 0u {
            own = merge(own, other);
        } else {
            own = merge(other, own);
        }
    }
    return own;
}
