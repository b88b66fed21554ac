// collect: sums of terms that lie a stride apart, in a fixed order: partials to a group or cell, cells to a group,
// cells or blocks to a parameter.
//
// grid     LANES lanes a word of results
// bytes    reads 8 bytes a term, writes 8 bytes a sum, or the gradient of a parameter
// steps    each lane every LANES-th term of a word; those of a word meet in workgroup memory
// limits   LANES is 256 at most
@group(0) @binding(6) var<storage, read> partials: array<vec2<f32>>; // (products, gradients)

// What leads from a lane of a word to its next. Neighbouring lanes read neighbouring terms: those of one word, or of as
// many as a workgroup has.
fn lane_step() -> u32 {
    return select(WORKGROUP_SIZE / LANES, 1u, task.sums_stride == 1u);
}

fn total_of(j: u32, lane: u32, is_item: bool) -> vec2<f32> {
    let begin = j / task.sums_inner * task.sums_outer + j % task.sums_inner + task.terms_origin;
    let count = select(0u, task.sums_count, is_item);
    var total = vec2<f32>();
    for (var k = lane; k < count; k += LANES) {
        total += term_at(begin + k * task.sums_stride, j, k);
    }
    return total;
}

fn with_half(totals: vec4<f32>, lanes: u32) -> vec4<f32> {
    if lanes >= LANES {
        return totals;
    }
    return totals + partner(totals, lanes * lane_step());
}

fn run(here: Place) {
    let words = WORKGROUP_SIZE / LANES;
    let are_neighbours = lane_step() == 1u;
    let lane = select(own_lane / words, here.lane, are_neighbours);
    let word = select(here.item - own_lane / LANES + own_lane % words, here.item, are_neighbours);
    let first = word * SUMS_A_WORD;
    var totals = vec4<f32>(total_of(first, lane, first < task.items), 0.0, 0.0);
    if SUMS_A_WORD == 2u {
        totals = vec4<f32>(totals.xy, total_of(first + 1u, lane, first + 1u < task.items));
    }
    totals = with_half(totals, 1u);
    totals = with_half(totals, 2u);
    totals = with_half(totals, 4u);
    totals = with_half(totals, 8u);
    totals = with_half(totals, 16u);
    totals = with_half(totals, 32u);
    totals = with_half(totals, 64u);
    totals = with_half(totals, 128u);
    if lane == 0u && first < task.items {
        keep(word, finished(totals.xy, first), finished(totals.zw, first + 1u), task.items - first);
    }
}
