// What mean and variance, which move with the input, take from the gradient of a normalized value.

// From a group's sums of gradients times normalized values, and of gradients: what is subtracted, and what is
// subtracted for each unit of the normalized value.
fn of_statistics(products: f32, gradients: f32) -> vec2<f32> {
    return divided(products, gradients, divisors());
}

// The same where it is known before what they are divided by.
fn divided(products: f32, gradients: f32, by: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(select(0.0, gradients, CENTRED), products) / by;
}

fn divisors() -> vec2<f32> {
    return vec2<f32>(task.count, task.divisor);
}
