// The gradients of weight and bias, in f32.
const SUMS_A_WORD = 1u;
@group(0) @binding(14) var<storage, read_write> grad_weight: array<f32>; // parameters
@group(0) @binding(15) var<storage, read_write> grad_bias: array<f32>; // parameters

fn put(item: u32, first: vec2<f32>, second: vec2<f32>, valid: u32) {
    grad_weight[item + task.extra_shift.x] = first.x;
    grad_bias[item + task.extra_shift.y] = first.y;
}
