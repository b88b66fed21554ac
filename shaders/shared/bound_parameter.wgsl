// Where a parameter lies in what is bound of weights and of biases.
fn bound_parameter(parameter: u32) -> vec2<u32> {
    return vec2<u32>(parameter + task.weight_shift, parameter + task.bias_shift);
}
