// Applies a group's statistic to the pack at `index`, of which `valid` elements are there.
fn apply(index: u32, statistic: vec4<f32>, parameters: Parameters, valid: u32) {
    let value = normalized_by(load(index + task.input_shift), all_of(statistic));
    store(index + task.output_shift, activate(affine(value, parameters)), valid);
}
