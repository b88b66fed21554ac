// average: the statistics of layers and of the batch from those of their instances: the mean of the variances, and the
// variance of the means.
//
// grid     one team of LANES lanes a layer, then one a channel of the batch, where that is averaged
// bytes    reads 16 bytes an instance for each, writes 16 bytes a layer or channel; with running estimates reads and writes
//          8 a channel
@group(0) @binding(5) var<storage, read_write> statistics: array<vec4<f32>>; // as in shares.wgsl, of (head, tail, rstd, variance)

fn run(here: Place) {
    let instances = instances_of(here.item);
    let mixtures = task.samples * task.channels;
    let begin = mixtures + task.statistics_shift;
    var kept = no_moments();
    for (var k = here.lane; k < instances.count; k += LANES) {
        let instance = statistics[begin + instances.first + k * instances.stride];
        kept = merge(kept, Moments(instance.x, instance.y, instance.w, 1.0));
    }
    let moments = gather_moments(here.lane, kept);
    if here.item < task.items && here.lane == 0u {
        let average = vec4<f32>(centre(moments.head, moments.tail), 0.0, moments.squares / moments.count);
        statistics[begin + mixtures + here.item] = average;
        if !is_layer(here.item) {
            track(here.item - task.samples, average);
        }
    }
}
