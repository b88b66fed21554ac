// The same share of every batch, and nobody counts them.
fn momentum() -> f32 {
    return task.momentum;
}

fn count_batch() {}
