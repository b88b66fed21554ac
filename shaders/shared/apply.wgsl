// Applies a group's statistic to the pack that lies there in input and output, of which `valid` elements are there.
fn apply(at: vec2<u32>, statistic: vec4<f32>, parameters: Parameters, valid: u32) {
    let value = normalized_by(load(at.x), all_of(statistic));
    store(at.y, activate(affine(value, parameters)), valid);
}
