// Every term counts, by its weight.
fn term_at(index: u32, j: u32, k: u32) -> vec2<f32> {
    let parameter = (index - task.terms_origin + task.sums_origin) % task.sums_len;
    return weighted(vec4<f32>(partials[index], 0.0, 0.0), parameters_at(bound_parameter(parameter), 0u)).xy;
}

fn finished(total: vec2<f32>, j: u32) -> vec2<f32> {
    return total;
}
