// A residual is added to the input, and the sum goes to a buffer of its own.
fn near(index: u32) -> f32 {
    return load_one(index + task.input_shift) + load_added_one(index + task.added_shift);
}
