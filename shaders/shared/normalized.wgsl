// The normalization itself. Head and tail go one after the other: the first difference is exact or
// nearly so, and the second then has small numbers to work on.

fn normalized(value: vec4<f32>, statistics: vec4<f32>) -> vec4<f32> {
    return ((value - vec4<f32>(statistics.x)) - vec4<f32>(statistics.y)) * statistics.z;
}
