// Sums of parts, that other dispatches collect.
const SUMS_A_WORD = 1u;
@group(0) @binding(6) var<storage, read_write> partials: array<vec2<f32>>; // (products, gradients)

fn put(item: u32, first: vec2<f32>, second: vec2<f32>, valid: u32) {
    partials[item] = first;
}
