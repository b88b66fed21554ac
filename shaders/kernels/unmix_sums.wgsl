// unmix_sums: what reaches the mixtures of a layer's instances, or of a channel's, together.
//
// grid     one team of LANES lanes a layer, then one a channel of the batch, where that is averaged
// bytes    reads 24 bytes an instance for each, writes 8 bytes a layer or channel
@group(0) @binding(5) var<storage, read> statistics: array<vec4<f32>>;        // (head, tail, rstd, variance)
@group(0) @binding(6) var<storage, read> partials: array<vec2<f32>>;          // of instances: (products, gradients)
@group(0) @binding(13) var<storage, read_write> group_sums: array<vec2<f32>>; // of layers, then of the batch: (of variance, of mean)

fn run(here: Place) {
    let instances = instances_of(here.item);
    var total = vec2<f32>();
    for (var k = here.lane; k < instances.count; k += LANES) {
        let i = instances.first + k * instances.stride;
        total += of_mixture(partials[i], statistics[i + task.statistics_shift].z);
    }
    total = gather_sums(total);
    if here.item < task.items && here.lane == 0u {
        group_sums[here.item] = total;
    }
}
