// The input is normalized as it is.
fn near(index: u32) -> f32 {
    return load(index + task.input_shift).x;
}

fn retake(index: u32) -> vec4<f32> {
    return load(index + task.input_shift);
}

fn take(index: u32, valid: u32) -> vec4<f32> {
    return load(index + task.input_shift);
}
