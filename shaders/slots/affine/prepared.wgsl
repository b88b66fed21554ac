// Weight and bias that the prepare kernel made ready, and a threshold.

// Whether a weight is stored as its distance from 1.
override ZERO_CENTRED: bool = false;
// Whether there is a threshold.
override THRESHOLDED: bool = false;

fn prepared_pack(base: u32, place: u32) -> vec4<f32> {
    if PARAMETER_STEP == 0u {
        return vec4<f32>(prepared[base]);
    }
    if PARAMETER_STEP == 4u {
        return vec4<f32>(prepared[base + place / task.d_divisor]);
    }
    let four = base + parameter_offsets(place);
    return vec4<f32>(prepared[four.x], prepared[four.y], prepared[four.z], prepared[four.w]);
}

fn parameters_at(base: vec2<u32>, place: u32) -> Parameters {
    let first = base.x;
    var factor = prepared_pack(first, place);
    if ZERO_CENTRED {
        factor += vec4<f32>(1.0);
    }
    var threshold = vec4<f32>();
    if THRESHOLDED {
        threshold = prepared_pack(first + 2u * task.prepared_len, place);
    }
    return Parameters(factor, prepared_pack(first + task.prepared_len, place), threshold);
}

fn unclipped(value: vec4<f32>, parameters: Parameters) -> vec4<f32> {
    return meeting_weight(value) * parameters.factor + parameters.summand;
}

fn affine(value: vec4<f32>, parameters: Parameters) -> vec4<f32> {
    let y = unclipped(value, parameters);
    if !THRESHOLDED {
        return y;
    }
    let tau = parameters.threshold;
    // Not max, which drops a NaN; nor `tau != tau`, which compilers that know of none take for false.
    let is_nan = (bitcast<vec4<u32>>(tau) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
    return select(y, tau, (y <= tau) | is_nan);
}

fn passes(value: vec4<f32>, parameters: Parameters) -> vec4<bool> {
    if !THRESHOLDED {
        return vec4<bool>(true);
    }
    return unclipped(value, parameters) > parameters.threshold;
}

fn weighted(value: vec4<f32>, parameters: Parameters) -> vec4<f32> {
    return value * parameters.factor;
}

fn sign_of_eps() -> f32 {
    return prepared[3u * task.prepared_len + 1u];
}
