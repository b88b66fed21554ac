// Sums for the parameters' gradients, pair by pair.
@group(0) @binding(6) var<storage, read_write> partials: array<vec2<f32>>; // (of weight, of bias)

fn keep_pair(index: u32, sums: vec2<f32>) {
    partials[index] = sums;
}

// Those of the places of a pack, of which so many are there.
fn keep_pack(index: u32, of_weight: vec4<f32>, of_bias: vec4<f32>, valid: u32) {
    for (var i = 0u; i < 4u; i++) {
        if i < valid {
            partials[index + i] = vec2<f32>(of_weight[i], of_bias[i]);
        }
    }
}
