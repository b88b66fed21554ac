// collect: sums of terms, in a fixed order: partials to a group or cell, cells to a group, cells, their partials or blocks
// to a parameter, and where that has one cell to the cell's group as well.
//
// grid     LANES lanes a word of results
// bytes    reads 8 bytes a term, writes 8 bytes a sum, or the gradient of a parameter
// steps    each lane every LANES-th term of a word; those of a word meet in workgroup memory, so it can number them anew

// Terms that a lane loads before it adds the first of them.
const AT_ONCE = 8u;
override LOADS_FIRST: bool = false;

@group(0) @binding(6) var<storage, read> partials: array<vec2<f32>>; // (products, gradients)

fn total_of(j: u32, lane: u32, is_item: bool) -> vec2<f32> {
    let begin = j / task.sums_inner * task.sums_outer + j % task.sums_inner + task.terms_origin;
    let count = select(0u, task.sums_count, is_item);
    var total = vec2<f32>();
    let turns = select(0u, count / (AT_ONCE * LANES), LOADS_FIRST);
    for (var turn = 0u; turn < turns; turn++) {
        total = with_terms(total, begin, j, turn * AT_ONCE * LANES + lane);
    }
    for (var k = turns * AT_ONCE * LANES + lane; k < count; k += LANES) {
        total += term_at(begin + term_offset(k), j, k);
    }
    return total;
}

// With the terms of so many turns, from the k-th on.
fn with_terms(sum: vec2<f32>, begin: u32, j: u32, k: u32) -> vec2<f32> {
    var terms: array<vec2<f32>, AT_ONCE>;
    for (var i = 0u; i < AT_ONCE; i++) {
        terms[i] = term_at(begin + term_offset(k + i * LANES), j, k + i * LANES);
    }
    var total = sum;
    for (var i = 0u; i < AT_ONCE; i++) {
        total += terms[i];
    }
    return total;
}

// From a result's first term to its k-th: all partials of a cell, then those of the next. A division is dear where a
// processor emulates the GPU.
fn term_offset(k: u32) -> u32 {
    if task.partials == 1u {
        return k * task.sums_stride;
    }
    return k / task.partials * task.sums_stride + k % task.partials;
}

fn run(here: Place) {
    let first_word = here.item - own_lane / LANES;
    // Both are read before either is asked: see shaders/README.md.
    let are_cells = task.partials == 1u;
    let are_apart = task.sums_stride != 1u;
    if are_apart && are_cells {
        // Neighbouring lanes read neighbouring terms, which are those of neighbouring words: words are dealt first.
        let words = WORKGROUP_SIZE / LANES;
        own_lane = own_lane % words * LANES + own_lane / words;
    }
    let word = first_word + own_lane / LANES;
    let lane = own_lane % LANES;
    let first = word * SUMS_A_WORD;
    var totals = vec4<f32>(total_of(first, lane, first < task.items), 0.0, 0.0);
    if SUMS_A_WORD == 2u {
        totals = vec4<f32>(totals.xy, total_of(first + 1u, lane, first + 1u < task.items));
    }
    totals = gather_four(totals);
    if lane == 0u && first < task.items {
        var second = vec2<f32>();
        if SUMS_A_WORD == 2u {
            second = finished(totals.zw, first + 1u);
        }
        put(word, finished(totals.xy, first), second, task.items - first);
    }
}
