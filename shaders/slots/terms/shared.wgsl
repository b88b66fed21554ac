// To what all classes share: every term, by the factor of its class.
fn term_at(index: u32, j: u32, k: u32) -> vec2<f32> {
    return partials[index] * prepared[2u * task.prepared_len + index];
}

fn finished(total: vec2<f32>, j: u32) -> vec2<f32> {
    return total;
}
