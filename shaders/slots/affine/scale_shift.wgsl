// Weight and bias.
fn parameters_at(base: u32, place: u32) -> Parameters {
    return Parameters(factor_pack(base, place), bias_pack(base, place), vec4<f32>());
}

fn affine(value: vec4<f32>, parameters: Parameters) -> vec4<f32> {
    return meeting_weight(value) * parameters.factor + parameters.summand;
}

fn weighted(value: vec4<f32>, parameters: Parameters) -> vec4<f32> {
    return value * parameters.factor;
}
