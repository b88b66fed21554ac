// Weight and bias that the prepare kernel made ready, and a threshold.

// Whether a weight is stored as its distance from 1.
override ZERO_CENTRED: bool = false;
// Whether there is a threshold.
override THRESHOLDED: bool = false;

fn prepared_pack(base: u32, place: u32) -> vec4<f32> {
    if PARAMETER_STEP == 0u {
        return vec4<f32>(prepared[base]);
    }
    return vec4<f32>(
        prepared[base + parameter_offset(place)],
        prepared[base + parameter_offset(place + 1u)],
        prepared[base + parameter_offset(place + 2u)],
        prepared[base + parameter_offset(place + 3u)],
    );
}

fn factor_pack(base: u32, place: u32) -> vec4<f32> {
    let stored = prepared_pack(base, place);
    if ZERO_CENTRED {
        return stored + vec4<f32>(1.0);
    }
    return stored;
}

fn unclipped(value: vec4<f32>, base: u32, place: u32) -> vec4<f32> {
    return meeting_weight(value) * factor_pack(base, place) + prepared_pack(base + task.prepared_len, place);
}

fn threshold_pack(base: u32, place: u32) -> vec4<f32> {
    return prepared_pack(base + 2u * task.prepared_len, place);
}

fn affine(value: vec4<f32>, base: u32, place: u32) -> vec4<f32> {
    let y = unclipped(value, base, place);
    if !THRESHOLDED {
        return y;
    }
    let tau = threshold_pack(base, place);
    // Not max, which drops a NaN.
    return select(y, tau, (y <= tau) | (tau != tau));
}

fn passes(value: vec4<f32>, base: u32, place: u32) -> vec4<bool> {
    if !THRESHOLDED {
        return vec4<bool>(true);
    }
    return unclipped(value, base, place) > threshold_pack(base, place);
}

fn weighted(value: vec4<f32>, base: u32, place: u32) -> vec4<f32> {
    return value * factor_pack(base, place);
}

fn sign_of_eps() -> f32 {
    return prepared[3u * task.prepared_len + 1u];
}
