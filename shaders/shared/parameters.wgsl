// The parameters of a pack, and where they lie.

// Whether neighbouring rows of b share their parameters: b_divisor is not 1.
override SHARED_ROWS: bool = false;

// What the affine map does to the four elements of a pack.
struct Parameters {
    factor: vec4<f32>,
    summand: vec4<f32>,
    threshold: vec4<f32>,
}

// First parameter of a group, before its i_b and i_d, among weights and among biases. A division is dear where a processor
// emulates the GPU, so it stays out of loops over rows.
fn group_parameter(i_a: u32, i_c: u32) -> vec2<u32> {
    return bound_parameter((i_a % task.a_modulus) * task.a_scale + i_c * task.c_scale);
}

// What a row of the group adds.
fn row_parameter(i_b: u32) -> u32 {
    if SHARED_ROWS {
        return i_b / task.b_divisor * task.b_scale;
    }
    return i_b * task.b_scale;
}

// First parameter of a row, before its i_d.
fn parameter_base(i_a: u32, i_b: u32, i_c: u32) -> vec2<u32> {
    return group_parameter(i_a, i_c) + row_parameter(i_b);
}
