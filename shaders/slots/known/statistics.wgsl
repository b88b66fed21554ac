// Statistics that are at hand: another kernel's, or the application's.
@group(0) @binding(5) var<storage, read> statistics: array<vec4<f32>>; // [a, c] of (head, tail, rstd, variance)

fn known(i_a: u32, i_c: u32) -> vec4<f32> {
    return statistics[statistic_index(i_a, i_c)];
}
