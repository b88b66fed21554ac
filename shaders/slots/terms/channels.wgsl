// Every term counts; the sum is a parameter's and, by its weight, that of the group which it belongs to.
@group(0) @binding(13) var<storage, read_write> group_sums: array<vec2<f32>>; // (products, gradients)

fn term_at(index: u32, j: u32, k: u32) -> vec2<f32> {
    return partials[index];
}

fn finished(total: vec2<f32>, j: u32) -> vec2<f32> {
    if j < task.items {
        group_sums[j] = positive_zero() + weighted(vec4<f32>(total, 0.0, 0.0), parameters_at(bound_parameter(j), 0u)).xy;
    }
    return total;
}
