// f32 to f16 by integer arithmetic: to the nearest, ties to even, overflow to infinity, subnormals kept.
// pack2x16float may round either way, and is undefined beyond 65504.

fn f16_bits(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    let magnitude = bits & 0x7fffffffu;
    // Below 2^-14: adding 0.5 leaves the subnormal's bits at the end of the mantissa, rounded.
    let subnormal = bitcast<u32>(bitcast<f32>(magnitude) + 0.5) - 0x3f000000u;
    let normal = (magnitude + 0xfffu + ((magnitude >> 13u) & 1u) - 0x38000000u) >> 13u;
    var half = select(normal, subnormal, magnitude < 0x38800000u);
    half = select(half, 0x7c00u, magnitude >= 0x477ff000u);
    half = select(half, 0x7e00u, magnitude > 0x7f800000u);
    return half | ((bits >> 16u) & 0x8000u);
}

fn pack_two(value: vec2<f32>) -> u32 {
    return f16_bits(value.x) | (f16_bits(value.y) << 16u);
}
