// The gradients of weight and bias, in bf16.
const SUMS_A_WORD = 2u;
@group(0) @binding(14) var<storage, read_write> grad_weight: array<u32>; // parameters
@group(0) @binding(15) var<storage, read_write> grad_bias: array<u32>; // parameters

fn put(item: u32, first: vec2<f32>, second: vec2<f32>, valid: u32) {
    grad_weight[item + task.extra_shift.x] = pair(first.x, second.x, grad_weight[item + task.extra_shift.x], valid);
    grad_bias[item + task.extra_shift.y] = pair(first.y, second.y, grad_bias[item + task.extra_shift.y], valid);
}
