// merge_affine: the apply step of long groups that are cut into few partials. Each team merges those of its group itself,
// in the merge kernel's order, so no dispatch does it while the device waits.
//
// grid     one team of LANES lanes a segment of a row of d elements
// bytes    reads the tensor once, writes it once; 16 bytes a partial for each team, from a cache but for the first
// steps    each lane of a subgroup merges four partials, and meets the others
// limits   a 16-bit row is of even length; partials are no more than four for each neighbour within reach
@group(0) @binding(6) var<storage, read> partials: array<vec4<f32>>; // [a, c, partials] of (head, tail, squares, count)

fn moments_at(begin: u32, partial: u32, count: u32) -> Moments {
    if partial >= count {
        return no_moments();
    }
    return moments_of(partials[begin + partial]);
}

// Pairs of neighbours, then pairs of pairs, as if each had a lane. Lanes without an item have nothing to add, and meet the
// others all the same.
fn merged(i_a: u32, i_c: u32, is_item: bool) -> vec4<f32> {
    let begin = entry_index(i_a, i_c) * task.partials;
    let count = select(0u, task.partials, is_item);
    let lane = own_lane % reach();
    let partial = 4u * lane;
    let own = merge(
        merge(moments_at(begin, partial, count), moments_at(begin, partial + 1u, count)),
        merge(moments_at(begin, partial + 2u, count), moments_at(begin, partial + 3u, count)),
    );
    return statistics_of(near_moments(lane, own, reach()));
}

fn run(here: Place) {
    let is_item = here.item < task.items;
    let row = row_item(here.item);
    let statistic = merged(row.i_a, row.i_c, is_item);
    if is_item && here.lane == 0u && row.i_b == 0u && row.begin == 0u {
        save(statistic_index(row.i_a, row.i_c), statistic);
    }

    let first = row_index(row.i_a, row.i_b, row.i_c) + bound_shifts();
    let base = parameter_base(row.i_a, row.i_b, row.i_c);
    var parameters = parameters_at(base, row.begin);
    for (var place = row.begin + 4u * here.lane; place < row.end; place += 4u * LANES) {
        if PARAMETER_STEP != 0u {
            parameters = parameters_at(base, place);
        }
        apply(first + place, statistic, parameters, min(4u, row.end - place));
    }
}
