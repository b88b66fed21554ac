// The factor of the affine map.
@group(0) @binding(3) var<storage, read> weight: array<ParameterWord>; // parameters

fn weight_at(index: u32) -> f32 {
    return parameter_value(weight[index / PARAMETERS_A_WORD], index);
}

fn weight_pack(first: u32, place: u32) -> vec4<f32> {
    if PARAMETER_STEP == 0u {
        return vec4<f32>(weight_at(first));
    }
    if PARAMETER_STEP == 4u {
        return vec4<f32>(weight_at(first + place / task.d_divisor));
    }
    if PARAMETER_STEP == 1u && PARAMETERS_A_WORD == 4u {
        return parameter_pack(weight[(first + place) / 4u]);
    }
    let four = first + parameter_offsets(place);
    return vec4<f32>(weight_at(four.x), weight_at(four.y), weight_at(four.z), weight_at(four.w));
}

// Whether a weight is stored as its distance from 1.
override ZERO_CENTRED: bool = false;

fn factor_pack(first: u32, place: u32) -> vec4<f32> {
    let stored = weight_pack(first, place);
    if ZERO_CENTRED {
        return stored + vec4<f32>(1.0);
    }
    return stored;
}
