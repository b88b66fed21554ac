// The running estimates of a channel whose only statistic this is, or that of its batch.
fn track(channel: u32, statistic: vec4<f32>) {
    move_estimates(channel, statistic.x + statistic.y, statistic.w * task.unbiased);
}
