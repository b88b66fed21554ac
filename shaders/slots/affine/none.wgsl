// No parameters.
fn affine(value: vec4<f32>, base: u32, place: u32) -> vec4<f32> {
    return value;
}

fn weighted(value: vec4<f32>, base: u32, place: u32) -> vec4<f32> {
    return value;
}
