// Nobody asks for the statistics afterwards.
fn save(i_a: u32, i_c: u32, values: vec4<f32>) {}
