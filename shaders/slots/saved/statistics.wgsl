// The statistics are kept, for the running estimates or for backward.
@group(0) @binding(5) var<storage, read_write> statistics: array<vec4<f32>>; // [a, c] of (head, tail, rstd, variance)

fn save(i_a: u32, i_c: u32, values: vec4<f32>) {
    statistics[statistic_index(i_a, i_c)] = values;
}
