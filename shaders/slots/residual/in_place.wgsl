// The input is added to the residual, in the residual's own buffer.
fn near(index: u32) -> f32 {
    return load_one(index + task.input_shift) + load_added_one(index + task.added_shift);
}

fn read_added(index: u32) -> Word {
    return sum[index];
}
