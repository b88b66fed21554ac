// streaming: a team goes through long groups twice, or through TOGETHER of them.
//
// grid     one team of LANES lanes a block of TOGETHER groups along a
// bytes    reads the tensor twice, writes it once; parameters once a block
// steps    moments partial by partial, merged as the merge kernel merges those of split; apply
// limits   a lane's iterations, over both passes, stay within the bound that strategy.rs holds it to

// The statistic of a group. Lanes without one have nothing to read, and meet the others all the same.
fn statistic_of(cut: Cut, i_a: u32, i_c: u32, lane: u32, is_group: bool) -> vec4<f32> {
    var kept = no_moments();
    // The end is read here: lavapipe, where it knows one before a loop, asks at each dispatch whether to compile for it.
    for (var partial = 0u; partial < task.partials; partial++) {
        let block = partial / cut.segments;
        let lane_moments = partial_moments(cut, i_a, i_c, block, partial % cut.segments, lane, is_group);
        let moments = gather_moments(lane, lane_moments);
        if partial % LANES == lane {
            kept = merge(kept, moments);
        }
    }
    return statistics_of(gather_moments(lane, kept));
}

fn run(here: Place) {
    let is_item = here.item < task.items;
    let first_a = first_of_block(here.item / task.extent.z);
    let i_c = task.origin.z + here.item % task.extent.z;
    let groups = select(0u, groups_from(first_a), is_item);
    let d = task.levels.w;
    let row_packs = packs_of(d);
    let packs = select(0u, task.levels.y * row_packs, is_item);
    let row_step = task.levels.z * d;
    let first = row_index(first_a, 0u, i_c) + bound_shifts();
    let group_base = group_parameter(first_a, i_c);
    let step = walk_step(row_packs);
    let first_statistic = statistic_index(first_a, i_c);
    let statistics_row = task.statistics_row;
    let cut = cut_of_groups();

    var kept: KeptOfAll;
    for (var k = 0u; k < TOGETHER; k++) {
        let statistic = statistic_of(cut, first_a + k, i_c, here.lane, k < groups);
        keep(&kept, k, statistic);
        if k < groups && here.lane == 0u {
            save(first_statistic + k * statistics_row, statistic);
        }
    }

    var walk = walk_from(here.lane, row_packs);
    for (var pack = here.lane; pack < packs; pack += LANES) {
        let place = 4u * walk.pack;
        let parameters = parameters_at(group_base + row_parameter(walk.row), place);
        apply_to_all(&kept, groups, first + walk.row * row_step + place, parameters, min(4u, d - place));
        walk = walk_on(walk, step, row_packs);
    }
}
