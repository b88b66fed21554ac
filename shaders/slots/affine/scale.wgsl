// A weight alone.
fn affine(value: vec4<f32>, base: u32, place: u32) -> vec4<f32> {
    return meeting_weight(value) * factor_pack(base, place);
}

fn weighted(value: vec4<f32>, base: u32, place: u32) -> vec4<f32> {
    return value * factor_pack(base, place);
}
