// The moments of one partial: `rows` rows of b, or a `segment` of one row. Streaming and split both
// call this and merge the results in the same order, so they give the same bits.

// How groups are cut into partials.
struct Cut {
    rows: u32,
    segment: u32,
    // Partials a row.
    segments: u32,
}

fn cut_of_groups() -> Cut {
    return Cut(task.rows, task.segment, task.segments);
}

fn partial_moments(
    cut: Cut,
    i_a: u32,
    i_c: u32,
    block: u32,
    segment: u32,
    lane: u32,
    is_item: bool,
) -> Moments {
    let d = task.levels.w;
    let row = block * cut.rows;
    let rows = min(cut.rows, task.levels.y - row);
    let begin = segment * cut.segment;
    let length = min(cut.segment, d - begin);
    let row_packs = packs_of(length);
    let packs = select(0u, rows * row_packs, is_item);

    let first = row_index(i_a, row, i_c) + begin + task.input_shift;
    let row_step = task.levels.z * d;
    let head = head_of(load(first).x);
    var moments = no_lane_moments();
    let step = walk_step(row_packs);
    var walk = walk_from(lane, row_packs);
    for (var pack = lane; pack < packs; pack += LANES) {
        let offset = 4u * walk.pack;
        let valid = min(4u, length - offset);
        let value = load(first + walk.row * row_step + offset);
        accumulate(&moments, masked(value - vec4<f32>(head), valid), present(valid));
        walk = walk_on(walk, step, row_packs);
    }
    return fold(moments, head);
}
