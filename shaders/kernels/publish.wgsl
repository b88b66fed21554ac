// publish: mean and deviation of each group, in the tensor's type.
//
// grid     one lane a word of results
// bytes    reads 16 bytes a statistic, writes two elements
@group(0) @binding(5) var<storage, read> statistics: array<vec4<f32>>;          // (head, tail, rstd, variance)
@group(0) @binding(25) var<storage, read_write> means: array<MomentWord>;       // statistics
@group(0) @binding(26) var<storage, read_write> deviations: array<MomentWord>;  // statistics

fn mean_and_deviation(statistic: u32) -> vec2<f32> {
    let s = statistics[statistic + task.statistics_shift];
    return vec2<f32>(s.x + s.y, 1.0 / s.z);
}

fn run(here: Place) {
    let statistic = here.item * MOMENTS_A_WORD;
    if statistic >= task.items {
        return;
    }
    let valid = min(MOMENTS_A_WORD, task.items - statistic);
    let first = mean_and_deviation(statistic);
    let second = mean_and_deviation(statistic + valid - 1u);
    let m = here.item + task.extra_shift.x;
    means[m] = moment_word(first.x, second.x, means[m], valid);
    let d = here.item + task.extra_shift.y;
    deviations[d] = moment_word(first.y, second.y, deviations[d], valid);
}
