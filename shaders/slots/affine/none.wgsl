// No parameters.
fn parameters_at(base: vec2<u32>, place: u32) -> Parameters {
    return Parameters();
}

fn affine(value: vec4<f32>, parameters: Parameters) -> vec4<f32> {
    return value;
}

fn weighted(value: vec4<f32>, parameters: Parameters) -> vec4<f32> {
    return value;
}
