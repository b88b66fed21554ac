// The summand of the affine map.
@group(0) @binding(4) var<storage, read> bias: array<ParameterWord>; // parameters

fn bias_at(index: u32) -> f32 {
    return parameter_value(bias[index / PARAMETERS_A_WORD], index);
}

fn bias_pack(first: u32, place: u32) -> vec4<f32> {
    if PARAMETER_STEP == 0u {
        return vec4<f32>(bias_at(first));
    }
    if PARAMETER_STEP == 4u {
        return vec4<f32>(bias_at(first + place / task.d_divisor));
    }
    if PARAMETER_STEP == 1u && PARAMETERS_A_WORD == 4u {
        return parameter_pack(bias[(first + place) / 4u]);
    }
    let four = first + parameter_offsets(place);
    return vec4<f32>(bias_at(four.x), bias_at(four.y), bias_at(four.z), bias_at(four.w));
}
