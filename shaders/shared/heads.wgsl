// Values near the means of four neighbouring columns, whose first elements these are.
fn heads_of(start: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(head_of(start.x), head_of(start.y), head_of(start.z), head_of(start.w));
}
