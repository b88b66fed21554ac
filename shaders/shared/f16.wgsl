// f32 to f16 by integer arithmetic: to the nearest, ties to even, overflow to infinity, subnormals kept.
// pack2x16float may round either way, and is undefined beyond 65504.

fn pack_two(value: vec2<f32>) -> u32 {
    return pack_four(vec4<f32>(value, 0.0, 0.0)).x;
}

fn pack_four(value: vec4<f32>) -> vec2<u32> {
    let bits = bitcast<vec4<u32>>(value);
    let magnitude = bits & vec4<u32>(0x7fffffffu);
    // Below 2^-14: adding 0.5 leaves the subnormal's bits at the end of the mantissa, rounded.
    let subnormal = bitcast<vec4<u32>>(bitcast<vec4<f32>>(magnitude) + vec4<f32>(0.5)) - vec4<u32>(0x3f000000u);
    let odd = (magnitude >> vec4<u32>(13u)) & vec4<u32>(1u);
    let normal = (magnitude + vec4<u32>(0xfffu) + odd - vec4<u32>(0x38000000u)) >> vec4<u32>(13u);
    var half = select(normal, subnormal, magnitude < vec4<u32>(0x38800000u));
    half = select(half, vec4<u32>(0x7c00u), magnitude >= vec4<u32>(0x477ff000u));
    half = select(half, vec4<u32>(0x7e00u), magnitude > vec4<u32>(0x7f800000u));
    half |= (bits >> vec4<u32>(16u)) & vec4<u32>(0x8000u);
    return half.xz | (half.yw << vec2<u32>(16u));
}
