// The gradient that reached the sum of input and residual by other ways is added.
fn with_inflow(gradient: vec4<f32>, index: u32) -> vec4<f32> {
    return gradient + load_added(index + task.added_shift);
}

fn with_inflow_one(gradient: f32, index: u32) -> f32 {
    return gradient + load_added_one(index + task.added_shift);
}
