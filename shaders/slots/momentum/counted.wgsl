// The same share of every batch, each of which is counted.
fn momentum() -> f32 {
    return task.momentum;
}

fn count_batch() {
    count();
}
