// Sums are of gradients alone, which are not rounded on the way.
fn meeting_weight(value: vec4<f32>) -> vec4<f32> {
    return value;
}
