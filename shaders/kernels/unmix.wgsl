// unmix: what reaches the mixed statistics goes on to the instances' own, and is written as the sums that would
// reach these alone; and what reaches the shares of the mixture.
//
// grid     one lane an instance
// bytes    reads 88 bytes an instance, writes 32
@group(0) @binding(5) var<storage, read> statistics: array<vec4<f32>>;        // as in shares.wgsl
@group(0) @binding(6) var<storage, read> partials: array<vec2<f32>>;          // of layers, then of the batch: (of variance, of mean)
@group(0) @binding(13) var<storage, read_write> group_sums: array<vec2<f32>>; // (products, gradients)
@group(0) @binding(29) var<storage, read_write> of_shares: array<vec2<f32>>;  // [instances, 3] of (of variance, of mean)

// What reaches an instance through the statistics of all `count` instances of a layer or the batch.
fn spread(of_whole: vec2<f32>, share: vec2<f32>, own: vec4<f32>, whole: vec4<f32>, count: f32) -> vec2<f32> {
    let of_both = of_whole * share;
    let distance = beyond(whole.xy, own);
    return vec2<f32>(of_both.x, of_both.y + 2.0 * of_both.x * distance) / count;
}

fn run(here: Place) {
    if here.item >= task.items {
        return;
    }
    let i = here.item;
    let mixture = statistics[i + task.statistics_shift];
    let own = instance_of(i);
    let layer = layer_of(i);
    let batch = batch_of(i);
    let of_both = of_mixture(group_sums[i], mixture.z);
    let means = mean_shares();
    let variances = var_shares();

    let parts = array<vec4<f32>, 3>(own, layer, batch);
    let variance = dot(variances, vec3<f32>(own.w, layer.w, batch.w));
    for (var k = 0u; k < 3u; k++) {
        let distance = vec2<f32>(parts[k].w - variance, beyond(mixture.xy, parts[k]));
        of_shares[3u * i + k] = of_both * vec2<f32>(variances[k], means[k]) * distance;
    }

    var of_own = of_both * vec2<f32>(variances.x, means.x);
    let of_layer = partials[i / task.channels];
    of_own += spread(of_layer, vec2<f32>(variances.y, means.y), own, layer, f32(task.channels));
    // Running estimates, which stand for the batch in evaluation, do not move with the input.
    if task.present == 1u {
        let of_batch = partials[task.samples + i % task.channels];
        of_own += spread(of_batch, vec2<f32>(variances.z, means.z), own, batch, f32(task.samples));
    }
    let moved = 2.0 * of_own.x * -beyond(mixture.xy, own) * (task.count / task.divisor);
    let rstd = mixture.z;
    group_sums[i] = vec2<f32>(-2.0 * of_own.x / (rstd * rstd), -(of_own.y + moved) / rstd);
}
