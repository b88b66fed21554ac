// average: the statistics of layers or of the batch from those of their instances: the mean of the variances, and
// the variance of the means.
//
// grid     one team of LANES lanes a layer or channel
// bytes    reads 16 bytes an instance, writes 16 bytes a layer or channel
@group(0) @binding(5) var<storage, read_write> statistics: array<vec4<f32>>; // instances, then what becomes of them

fn run(here: Place) {
    let is_item = here.item < task.items;
    let count = select(0u, task.sums_count, is_item);
    let begin = here.item / task.sums_inner * task.sums_outer + here.item % task.sums_inner + task.terms_origin;
    var kept = no_moments();
    for (var k = here.lane; k < count; k += LANES) {
        let instance = statistics[begin + k * task.sums_stride + task.statistics_shift];
        kept = merge(kept, Moments(instance.x, instance.y, instance.w, 1.0));
    }
    let moments = gather_moments(here.lane, kept);
    if is_item && here.lane == 0u {
        let mean = centre(moments.head, moments.tail);
        statistics[here.item + task.sums_origin + task.statistics_shift] =
            vec4<f32>(mean, 0.0, moments.squares / moments.count);
    }
}
