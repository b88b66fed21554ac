// The input is added to the residual, in the residual's own buffer.

// All lanes read it while one of them may already write the sum there, so the residual plays no part.
fn near(index: u32) -> f32 {
    return load(index + task.input_shift).x;
}

fn read_added(index: u32) -> Word {
    return sum[index];
}
