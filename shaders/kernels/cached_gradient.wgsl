// cached_gradient: LANES lanes take a block of groups that a processor's cache holds: first what goes through the
// statistics of each group, then the gradients, pack by pack for all groups, so that what a place sums up over them
// never leaves registers.
//
// grid     one team of LANES lanes a block of block_a * block_c groups, WORKGROUP_SIZE / LANES teams a workgroup
// bytes    reads x and the output's gradient once, and again from the cache; writes the input's once; 8 bytes a
//          parameter and block, or a group
// limits   16 groups a block; a 16-bit row is of even length

// What is left for the parameters' gradients. 0: nothing; 1: a sum for each place of a group, which has the same
// parameter in every group; 2: a sum for each group, which has one parameter.
override PARAMETER_SUMS: u32 = 0u;
// Whether what reaches a threshold and eps is summed as well, where there is one parameter a group and no mean.
override SECOND: bool = false;

// Groups of a block, at most.
const KEPT = 16u;

// What the second pass needs of a group.
struct Kept {
    statistic: vec4<f32>,
    through: vec2<f32>,
}

// The next group of a block that begins at `first`; i_a, i_c.
fn group_after(group: vec2<u32>, first: vec2<u32>) -> vec2<u32> {
    let i_c = group.y + 1u;
    if i_c - first.y < task.block_c {
        return vec2<u32>(group.x, i_c);
    }
    return vec2<u32>(group.x + 1u, first.y);
}

fn run(here: Place) {
    let is_item = here.item < task.items;
    let d = task.levels.w;
    let row_packs = packs_of(d);
    let row_step = task.levels.z * d;
    let step = walk_step(row_packs);
    let shifts = bound_shifts();
    let first_group = vec2<u32>(
        task.origin.x + here.item / task.extent.z * task.block_a,
        task.origin.z + here.item % task.extent.z * task.block_c,
    );
    let first_entry = entry_index(first_group.x, first_group.y);
    let entries_row = task.statistics_row;
    let statistics_shift = task.statistics_shift;
    let ends = vec2<u32>(task.a_end, task.c_end);
    // Those of one group are those of all in the block.
    let group_base = group_parameter(first_group.x, first_group.y);

    var kept: KeptOfAll;
    var present = 0u;
    var at = first_group;
    for (var group = 0u; group < task.block_a * task.block_c; group++) {
        let is_group = is_item && all(at < ends);
        let packs = select(0u, task.levels.y * row_packs, is_group);
        let first = row_index(at.x, 0u, at.y);
        let from_first = at - first_group;
        let entry = first_entry + from_first.x * entries_row + from_first.y;
        let statistic = statistics[select(0u, entry + statistics_shift, is_group)];
        let four = all_of(statistic);

        var sum = vec4<f32>();
        var product = vec4<f32>();
        var weight_sum = vec4<f32>();
        var bias_sum = vec4<f32>();
        var walk = walk_from(here.lane, row_packs);
        for (var pack = here.lane; pack < packs; pack += LANES) {
            let place = 4u * walk.pack;
            let valid = min(4u, d - place);
            let parameters = parameters_at(group_base + row_parameter(walk.row), place);
            let terms = terms_at(first + walk.row * row_step + place + shifts, four, parameters);
            let of_affine = masked(terms.of_affine, valid);
            let normalized = masked(terms.normalized, valid);
            let gradient = masked(weighted(of_affine, parameters), valid);
            if SECOND {
                sum += masked(terms.clipped, valid);
            } else {
                sum += gradient;
            }
            product += gradient * normalized;
            if PARAMETER_SUMS == 2u {
                weight_sum += of_affine * meeting_weight(normalized);
                bias_sum += of_affine;
            }
            walk = walk_on(walk, step, row_packs);
        }
        let total = gather_four(vec4<f32>(sums(product), sums(sum), sums(weight_sum), sums(bias_sum)));
        keep(&kept, group, Kept(statistic, of_statistics(total.x, total.y)));
        present += u32(is_group);
        if PARAMETER_SUMS == 2u && is_group && here.lane == 0u {
            keep_pair(entry, total.zw);
            if SECOND {
                let of_eps = (-0.5 * sign_of_eps()) * four.rstd.x * four.rstd.x * total.x;
                keep_pair(entry + task.second_origin, vec2<f32>(total.y, of_eps));
            }
        }
        at = group_after(at, first_group);
    }

    let packs = select(0u, task.levels.y * row_packs, present > 0u);
    var walk = walk_from(here.lane, row_packs);
    for (var pack = here.lane; pack < packs; pack += LANES) {
        let place = 4u * walk.pack;
        let valid = min(4u, d - place);
        let parameters = parameters_at(group_base + row_parameter(walk.row), place);
        var of_weight = vec4<f32>();
        var of_bias = vec4<f32>();
        at = first_group;
        for (var group = 0u; group < present; group++) {
            let own = kept_of(&kept, group);
            let four = all_of(own.statistic);
            let index = row_index(at.x, 0u, at.y) + walk.row * row_step + place;
            let terms = terms_at(index + shifts, four, parameters);
            let gradient = weighted(terms.of_affine, parameters);
            let of_input = ((gradient - vec4<f32>(own.through.x)) - terms.normalized * own.through.y) * four.rstd;
            if PARAMETER_SUMS == 1u {
                of_weight += terms.of_affine * meeting_weight(terms.normalized);
                of_bias += terms.of_affine;
            }
            store(index + shifts.z, with_inflow(of_input, index), valid);
            at = group_after(at, first_group);
        }
        if PARAMETER_SUMS == 1u {
            let entry = here.item * task.levels.y * d + walk.row * d + place;
            keep_pack(entry, of_weight, of_bias, valid);
        }
        walk = walk_on(walk, step, row_packs);
    }
}
