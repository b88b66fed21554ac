// streaming: one workgroup goes through a long group twice.
//
// grid     one workgroup of LANES lanes a statistic
// bytes    reads the tensor twice, writes it once
// steps    moments partial by partial, merged as the merge kernel merges those of split; apply
// limits   a lane's iterations, over both passes, stay within the bound that strategy.rs holds it to
fn run(here: Place) {
    let is_item = here.item < task.items;
    let i_a = task.origin.x + here.item / task.extent.z;
    let i_c = task.origin.z + here.item % task.extent.z;

    var kept = no_moments();
    for (var partial = 0u; partial < task.partials; partial++) {
        let block = partial / task.segments;
        let lane_moments = partial_moments(i_a, i_c, block, partial % task.segments, here.lane, is_item);
        let moments = gather_moments(here.lane, lane_moments);
        if partial % LANES == here.lane {
            kept = merge(kept, moments);
        }
    }
    let statistics = statistics_of(gather_moments(here.lane, kept));
    let four = all_of(statistics);

    let d = task.levels.w;
    let row_packs = packs_of(d);
    let packs = select(0u, task.levels.y * row_packs, is_item);
    let row_step = task.levels.z * d;
    let first = row_index(i_a, 0u, i_c);
    let group_base = group_parameter(i_a, i_c);
    let step = walk_step(row_packs);
    var walk = walk_from(here.lane, row_packs);
    for (var pack = here.lane; pack < packs; pack += LANES) {
        let place = 4u * walk.pack;
        let index = first + walk.row * row_step + place;
        let value = normalized_by(load(index + task.input_shift), four);
        let parameters = parameters_at(group_base + row_parameter(walk.row), place);
        store(index + task.output_shift, activate(affine(value, parameters)), min(4u, d - place));
        walk = walk_on(walk, step, row_packs);
    }
    if is_item && here.lane == 0u {
        save(i_a, i_c, statistics);
    }
}
