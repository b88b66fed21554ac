// The moments of one partial: `rows` rows of b, or a `segment` of one row. Streaming and split both
// call this and merge the results in the same order, so they give the same bits.

fn partial_moments(i_a: u32, i_c: u32, block: u32, segment: u32, lane: u32, is_item: bool) -> Moments {
    let d = task.levels.w;
    let row = block * task.rows;
    let rows = min(task.rows, task.levels.y - row);
    let begin = segment * task.segment;
    let length = min(task.segment, d - begin);
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
