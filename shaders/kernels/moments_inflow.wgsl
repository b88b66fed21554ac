// moments_inflow: gradients that flow into means and deviations join the sums that reach the statistics.
//
// grid     one lane a statistic
// bytes    reads 24 bytes and two elements a statistic, writes 8
@group(0) @binding(5) var<storage, read> statistics: array<vec4<f32>>;        // (head, tail, rstd, variance)
@group(0) @binding(13) var<storage, read_write> group_sums: array<vec2<f32>>; // (products, gradients)
@group(0) @binding(27) var<storage, read> grad_mean: array<ParameterWord>;             // statistics
@group(0) @binding(28) var<storage, read> grad_std: array<ParameterWord>;              // statistics

// Bits of task.present.
const OF_MEAN = 1u;
const OF_STD = 2u;

fn run(here: Place) {
    if here.item >= task.items {
        return;
    }
    let m = here.item + task.extra_shift.x;
    let of_mean = parameter_value(grad_mean[m / PARAMETERS_A_WORD], m);
    let d = here.item + task.extra_shift.y;
    let of_std = parameter_value(grad_std[d / PARAMETERS_A_WORD], d);
    let rstd = statistics[here.item + task.statistics_shift].z;
    let inflow = vec2<f32>(
        select(0.0, of_std, (task.present & OF_STD) != 0u),
        select(0.0, of_mean, (task.present & OF_MEAN) != 0u),
    );
    group_sums[here.item] -= inflow / rstd;
}
