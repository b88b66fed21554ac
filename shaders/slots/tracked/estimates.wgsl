// The running estimates of a channel whose only statistic this is.
fn track(item: u32, statistic: vec4<f32>) {
    move_estimates(task.channel_origin + item, statistic.x + statistic.y, statistic.w * task.unbiased);
}
