// merge: the partial moments of each statistic become one, in a fixed order.
//
// grid     one team of LANES lanes a statistic
// bytes    reads 16 bytes a partial, writes 16 bytes a statistic; with running estimates reads and writes 8 a channel
@group(0) @binding(5) var<storage, read_write> statistics: array<vec4<f32>>; // [a, c] of (head, tail, rstd, variance)
@group(0) @binding(6) var<storage, read> partials: array<vec4<f32>>;         // [a, c, partials] of (head, tail, squares, count)

fn run(here: Place) {
    let is_item = here.item < task.items;
    let count = select(0u, task.partials, is_item);
    var kept = no_moments();
    for (var partial = here.lane; partial < count; partial += LANES) {
        kept = merge(kept, moments_of(partials[here.item * task.partials + partial]));
    }
    let statistic = statistics_of(gather_moments(here.lane, kept));
    let index = statistic_of_item(here.item);
    if is_item && here.lane == 0u {
        statistics[index] = statistic;
        track(task.channel_origin + here.item, statistic);
    }
}
