// Running estimates in the place of statistics, whose 1 / deviation each lane takes itself.
@group(0) @binding(7) var<storage, read> running_mean: array<f32>; // [channels]
@group(0) @binding(8) var<storage, read> running_var: array<f32>;  // [channels]

// That of a group is its i_c further, since c divides `channels`; so no product leaves 32 bits.
fn first_known(i_a: u32) -> u32 {
    return i_a % (task.channels / task.levels.z) * task.levels.z;
}

fn known(channel: u32) -> vec4<f32> {
    let variance = running_var[channel];
    return vec4<f32>(running_mean[channel], 0.0, rstd_of(variance), variance);
}
