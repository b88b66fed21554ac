// unmix_sums: sums over a group become the gradients of the variance and of the mean that it was normalized by.
//
// grid     one lane an instance
// bytes    reads 24 bytes an instance, writes 8
@group(0) @binding(5) var<storage, read> statistics: array<vec4<f32>>;       // (head, tail, rstd, variance)
@group(0) @binding(13) var<storage, read_write> group_sums: array<vec2<f32>>; // (products, gradients), then (of variance, of mean)

fn run(here: Place) {
    if here.item >= task.items {
        return;
    }
    let rstd = statistics[here.item + task.statistics_shift].z;
    let sums = group_sums[here.item];
    group_sums[here.item] = vec2<f32>(-0.5 * rstd * rstd * sums.x, -rstd * sums.y);
}
