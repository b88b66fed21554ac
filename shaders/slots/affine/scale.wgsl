// A weight alone.
fn parameters_at(base: vec2<u32>, place: u32) -> Parameters {
    return Parameters(factor_pack(base.x, place), vec4<f32>(), vec4<f32>());
}

fn affine(value: vec4<f32>, parameters: Parameters) -> vec4<f32> {
    return meeting_weight(value) * parameters.factor;
}

fn weighted(value: vec4<f32>, parameters: Parameters) -> vec4<f32> {
    return value * parameters.factor;
}
