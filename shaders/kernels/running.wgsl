// running: running estimates move towards the batch's statistics.
//
// grid     one team of LANES lanes a channel
// bytes    reads 16 bytes a statistic, reads and writes 8 bytes a channel
@group(0) @binding(5) var<storage, read> statistics: array<vec4<f32>>; // [samples, channels] of (head, tail, rstd, variance)

fn run(here: Place) {
    let is_item = here.item < task.items;
    let samples = select(0u, task.samples, is_item);
    var means = 0.0;
    var variances = 0.0;
    for (var sample = here.lane; sample < samples; sample += LANES) {
        let statistic = statistics[sample * task.items + here.item + task.statistics_shift];
        means += statistic.x + statistic.y;
        variances += statistic.w;
    }
    let mean = gather_sum(means) / f32(task.samples);
    let variance = gather_sum(variances) / f32(task.samples) * task.unbiased;
    if is_item && here.lane == 0u {
        move_estimates(task.channel_origin + here.item, mean, variance);
    }
}
