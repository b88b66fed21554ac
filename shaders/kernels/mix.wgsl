// mix: the statistics of each instance, its layer and the batch become one.
//
// grid     one lane an instance
// bytes    reads 48 bytes an instance, writes 16
@group(0) @binding(5) var<storage, read_write> statistics: array<vec4<f32>>; // as in shares.wgsl, of (head, tail, rstd, variance)

fn run(here: Place) {
    if here.item >= task.items {
        return;
    }
    let i = here.item;
    let own = instance_of(i);
    let layer = layer_of(i);
    let batch = batch_of(i);
    let shares = mean_shares();
    // About the instance's head, so that a common offset costs no digits.
    let head = vec2<f32>(own.x, 0.0);
    let tail = dot(shares, vec3<f32>(beyond(head, own), beyond(head, layer), beyond(head, batch)));
    let variance = dot(var_shares(), vec3<f32>(own.w, layer.w, batch.w));
    statistics[i + task.statistics_shift] = vec4<f32>(centre(own.x, tail), rstd_of(variance), variance);
}
