// The shares of instance, layer and batch in a mixture of statistics, and where these lie: the mixtures, the
// instances', the layers', the batch's.
@group(0) @binding(23) var<storage, read> mean_weight: array<ParameterWord>; // three
@group(0) @binding(24) var<storage, read> var_weight: array<ParameterWord>;  // three

fn softmax(x: f32, y: f32, z: f32) -> vec3<f32> {
    let all = vec3<f32>(x, y, z);
    let powers = exp(all - vec3<f32>(max(x, max(y, z))));
    return powers / (powers.x + powers.y + powers.z);
}

fn mean_weight_at(k: u32) -> f32 {
    let index = k + task.extra_shift.x;
    return parameter_value(mean_weight[index / PARAMETERS_A_WORD], index);
}

fn var_weight_at(k: u32) -> f32 {
    let index = k + task.extra_shift.y;
    return parameter_value(var_weight[index / PARAMETERS_A_WORD], index);
}

fn mean_shares() -> vec3<f32> {
    return softmax(mean_weight_at(0u), mean_weight_at(1u), mean_weight_at(2u));
}

fn var_shares() -> vec3<f32> {
    return softmax(var_weight_at(0u), var_weight_at(1u), var_weight_at(2u));
}

fn instance_of(i: u32) -> vec4<f32> {
    return statistics[task.items + i + task.statistics_shift];
}

fn layer_of(i: u32) -> vec4<f32> {
    return statistics[2u * task.items + i / task.channels + task.statistics_shift];
}

fn batch_of(i: u32) -> vec4<f32> {
    return statistics[2u * task.items + task.samples + i % task.channels + task.statistics_shift];
}

// How far a mean lies from a place.
fn beyond(place: vec2<f32>, statistic: vec4<f32>) -> f32 {
    return hidden(statistic.x - place.x) + (statistic.y - place.y);
}
