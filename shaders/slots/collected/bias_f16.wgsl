// The gradient of the bias, in f16.
const SUMS_A_WORD = 2u;
@group(0) @binding(15) var<storage, read_write> grad_bias: array<u32>; // parameters

fn put(item: u32, first: vec2<f32>, second: vec2<f32>, valid: u32) {
    grad_bias[item + task.extra_shift.y] = pair(first.y, second.y, grad_bias[item + task.extra_shift.y], valid);
}
