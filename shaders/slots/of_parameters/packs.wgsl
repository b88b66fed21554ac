// Sums for the parameters' gradients of whole packs, two pairs a word: a GPU writes words of eight bytes, which lie 32
// apart from lane to lane, at half of its speed.
@group(0) @binding(6) var<storage, read_write> partials: array<vec4<f32>>; // (of weight, of bias), twice

// Pairs come with groups, which are not packs.
fn keep_pair(index: u32, sums: vec2<f32>) {}

fn keep_pack(index: u32, of_weight: vec4<f32>, of_bias: vec4<f32>, valid: u32) {
    partials[index / 2u] = vec4<f32>(of_weight.x, of_bias.x, of_weight.y, of_bias.y);
    partials[index / 2u + 1u] = vec4<f32>(of_weight.z, of_bias.z, of_weight.w, of_bias.w);
}
