// Nobody asks for the statistics afterwards.
fn save(index: u32, values: vec4<f32>) {}
