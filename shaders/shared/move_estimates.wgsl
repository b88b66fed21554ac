// Running estimates move towards the batch's statistics.
@group(0) @binding(7) var<storage, read_write> running_mean: array<f32>; // [channels]
@group(0) @binding(8) var<storage, read_write> running_var: array<f32>;  // [channels]

// The estimate after this dispatch. Samples that do not fit one dispatch come in several, each with its
// share of the average; the first takes the old estimate's share away. Not `estimate + momentum * (observed - estimate)`, whose
// rounding leaves something of a much larger old estimate where the momentum is 1.
fn moved(estimate: f32, observed: f32) -> f32 {
    let kept = select(1.0, 1.0 - momentum(), task.is_first_chunk == 1u);
    return kept * estimate + momentum() * (task.samples_share * observed);
}

fn move_estimates(channel: u32, mean: f32, variance: f32) {
    running_mean[channel] = moved(running_mean[channel], mean);
    running_var[channel] = moved(running_var[channel], variance);
    if channel == 0u && task.is_first_chunk == 1u {
        count_batch();
    }
}
