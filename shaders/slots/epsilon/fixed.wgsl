// The same number is added to every variance.
fn epsilon() -> f32 {
    return task.eps;
}
