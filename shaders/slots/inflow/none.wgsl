// No gradient comes by other ways.
fn with_inflow(gradient: vec4<f32>, index: u32) -> vec4<f32> {
    return gradient;
}

fn with_inflow_one(gradient: f32, index: u32) -> f32 {
    return gradient;
}
