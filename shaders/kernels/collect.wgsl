// collect: sums of terms that lie a stride apart, in a fixed order: partials to a group or cell, cells to a group,
// cells or blocks to a parameter.
//
// grid     one team of LANES lanes a word of results
// bytes    reads 8 bytes a term, writes 8 bytes a sum, or the gradient of a parameter
@group(0) @binding(6) var<storage, read> partials: array<vec2<f32>>; // (products, gradients)

fn total_of(j: u32, lane: u32, is_item: bool) -> vec2<f32> {
    let begin = j / task.sums_inner * task.sums_outer + j % task.sums_inner + task.terms_origin;
    let count = select(0u, task.sums_count, is_item);
    var total = vec2<f32>();
    for (var k = lane; k < count; k += LANES) {
        total += term_at(begin + k * task.sums_stride, j, k);
    }
    return finished(gather_sums(total), j);
}

fn run(here: Place) {
    let first = here.item * SUMS_A_WORD;
    var totals: array<vec2<f32>, 2>;
    for (var i = 0u; i < SUMS_A_WORD; i++) {
        totals[i] = total_of(first + i, here.lane, first + i < task.items);
    }
    if here.lane == 0u && first < task.items {
        keep(here.item, totals[0], totals[1], task.items - first);
    }
}
