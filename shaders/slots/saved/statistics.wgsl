// The statistics are kept, for the running estimates or for backward.
@group(0) @binding(5) var<storage, read_write> statistics: array<vec4<f32>>; // [a, c] of (head, tail, rstd, variance)

fn save(index: u32, values: vec4<f32>) {
    statistics[index] = values;
}
