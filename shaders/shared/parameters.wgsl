// What the affine map does to the four elements of a pack.
struct Parameters {
    factor: vec4<f32>,
    summand: vec4<f32>,
    threshold: vec4<f32>,
}
