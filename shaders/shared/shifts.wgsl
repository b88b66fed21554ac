// From an index into the whole tensor to those into what is bound of input and output.
fn bound_shifts() -> vec2<u32> {
    return vec2<u32>(task.input_shift, task.output_shift);
}
