// What is learned is added to the number, by its magnitude.
fn epsilon() -> f32 {
    return task.eps + prepared[3u * task.prepared_len];
}
