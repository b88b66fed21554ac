// The same share of every batch.
fn momentum() -> f32 {
    return task.momentum;
}
