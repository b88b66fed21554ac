// Statistics that are at hand: another kernel's, or the application's.
@group(0) @binding(5) var<storage, read> statistics: array<vec4<f32>>; // [a, c] of (head, tail, rstd, variance)

// That of a group is its i_c further.
fn first_known(i_a: u32) -> u32 {
    return statistic_index(i_a, 0u);
}

fn known(index: u32) -> vec4<f32> {
    return statistics[index];
}
