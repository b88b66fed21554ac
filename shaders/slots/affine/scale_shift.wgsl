// Weight and bias.
fn parameters_at(base: vec2<u32>, place: u32) -> Parameters {
    return Parameters(factor_pack(base.x, place), bias_pack(base.y, place), vec4<f32>());
}

fn affine(value: vec4<f32>, parameters: Parameters) -> vec4<f32> {
    return meeting_weight(value) * parameters.factor + parameters.summand;
}

fn weighted(value: vec4<f32>, parameters: Parameters) -> vec4<f32> {
    return value * parameters.factor;
}
