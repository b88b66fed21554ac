// bf16 is the upper half of an f32: to the nearest, ties to even, and a NaN stays one.

fn unpack_two(word: u32) -> vec2<f32> {
    return vec2<f32>(bitcast<f32>(word << 16u), bitcast<f32>(word & 0xffff0000u));
}

fn pack_two(value: vec2<f32>) -> u32 {
    return pack_four(vec4<f32>(value, 0.0, 0.0)).x;
}

// Rounding is most of what lanes do with such elements, so NaN is looked for in all four together: without one their sum
// is none, but for infinities of both signs, which only take longer.
fn pack_four(value: vec4<f32>) -> vec2<u32> {
    let bits = bitcast<vec4<u32>>(value);
    var rounded = bits + vec4<u32>(0x7fffu) + ((bits >> vec4<u32>(16u)) & vec4<u32>(1u));
    let sum = (value.x + value.y) + (value.z + value.w);
    if (bitcast<u32>(sum) & 0x7fffffffu) > 0x7f800000u {
        let are_nan = (bits & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
        rounded = select(rounded, bits | vec4<u32>(0x400000u), are_nan);
    }
    return (rounded.xz >> vec2<u32>(16u)) | (rounded.yw & vec2<u32>(0xffff0000u));
}
