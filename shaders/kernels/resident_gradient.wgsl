// resident_gradient: LANES lanes hold what backward needs of a whole group in registers, group after group.
//
// grid     one team of LANES lanes a block of block_a * block_c groups, WORKGROUP_SIZE / LANES teams a workgroup
// bytes    reads x and the output's gradient once, writes the input's once; 8 bytes a parameter and block, or a group
// steps    sum to the two sums of the group; read the next; store the gradient; at last store the sums of the parameters
// limits   b * d elements fit LANES * REGISTERS packs; a 16-bit row is of even length

// What is left for the parameters' gradients. 0: nothing; 1: a sum for each place of a group, which has the same
// parameter in every group; 2: a sum for each group, which has one parameter.
override PARAMETER_SUMS: u32 = 0u;
// Whether what reaches a threshold and eps is summed as well, where there is one parameter a group and no mean.
override SECOND: bool = false;

// Whether a group is loaded while the one before it is reduced and written, so that memory never waits for lanes to meet.
// A block is one group where nothing is summed over it, and more packs are more than there are registers for.
fn loads_ahead() -> bool {
    return PARAMETER_SUMS == 1u && REGISTERS <= 4u;
}

// Loads what a lane has of a group; gives its statistic.
fn load_group(of_x: ptr<function, Ahead>, of_gradient: ptr<function, Ahead>, group: Group, lane: u32) -> vec4<f32> {
    let packs = packs_in(group);
    let row_packs = packs_of(task.levels.w);
    let row_step = task.levels.z * task.levels.w;
    let step = walk_step(row_packs);
    let shifts = bound_shifts();
    var walk = walk_from(lane, row_packs);
    for (var k = 0u; k < rounds(packs); k++) {
        if lane + k * LANES >= packs {
            continue;
        }
        let at = group.first + walk.row * row_step + 4u * walk.pack + shifts;
        put_ahead(of_x, k, stored(x[at.x / ELEMENTS_A_WORD], load_x(at.x)));
        put_ahead(of_gradient, k, stored(read_word(at.y / ELEMENTS_A_WORD), load(at.y)));
        walk = walk_on(walk, step, row_packs);
    }
    return statistics[select(0u, statistic_index(group.i_a, group.i_c), group.is_there)];
}

fn run(here: Place) {
    let d = task.levels.w;
    let row_packs = packs_of(d);
    let row_step = task.levels.z * d;
    let start = walk_from(here.lane, row_packs);
    let step = walk_step(row_packs);

    var normalized: array<vec4<f32>, REGISTERS>;
    var gradient: array<vec4<f32>, REGISTERS>;
    var of_weight: array<vec4<f32>, REGISTERS>;
    var of_bias: array<vec4<f32>, REGISTERS>;
    var next_x: Ahead;
    var next_gradient: Ahead;
    var statistic: vec4<f32>;
    if loads_ahead() {
        statistic = load_group(&next_x, &next_gradient, group_in_block(here.item, 0u), here.lane);
    }
    for (var number = 0u; number < task.block_a * task.block_c; number++) {
        let group = group_in_block(here.item, number);
        let packs = packs_in(group);
        if !loads_ahead() {
            statistic = load_group(&next_x, &next_gradient, group, here.lane);
        }
        let four = all_of(statistic);

        let group_base = group_parameter(group.i_a, group.i_c);
        var sum = vec4<f32>();
        var product = vec4<f32>();
        var weight_sum = vec4<f32>();
        var bias_sum = vec4<f32>();
        var walk = start;
        for (var k = 0u; k < rounds(packs); k++) {
            if here.lane + k * LANES >= packs {
                continue;
            }
            let place = 4u * walk.pack;
            let valid = min(4u, d - place);
            let parameters = parameters_at(group_base + row_parameter(walk.row), place);
            let terms = terms_of(from_ahead(&next_x, k), from_ahead(&next_gradient, k), four, parameters);
            let of_affine = masked(terms.of_affine, valid);
            normalized[k] = masked(terms.normalized, valid);
            gradient[k] = masked(weighted(of_affine, parameters), valid);
            if SECOND {
                sum += masked(terms.clipped, valid);
            } else {
                sum += gradient[k];
            }
            product += gradient[k] * normalized[k];
            if PARAMETER_SUMS == 1u {
                of_weight[k] += of_affine * meeting_weight(normalized[k]);
                of_bias[k] += of_affine;
            }
            if PARAMETER_SUMS == 2u {
                weight_sum += of_affine * meeting_weight(normalized[k]);
                bias_sum += of_affine;
            }
            walk = walk_on(walk, step, row_packs);
        }
        if loads_ahead() {
            statistic = load_group(&next_x, &next_gradient, group_in_block(here.item, number + 1u), here.lane);
        }
        let total = gather_four(vec4<f32>(sums(product), sums(sum), sums(weight_sum), sums(bias_sum)));
        let through = of_statistics(total.x, total.y);

        walk = start;
        for (var k = 0u; k < rounds(packs); k++) {
            if here.lane + k * LANES >= packs {
                continue;
            }
            let place = 4u * walk.pack;
            let index = group.first + walk.row * row_step + place;
            let of_input = ((gradient[k] - vec4<f32>(through.x)) - normalized[k] * through.y) * four.rstd;
            store(index + task.output_shift, with_inflow(of_input, index), min(4u, d - place));
            walk = walk_on(walk, step, row_packs);
        }
        if PARAMETER_SUMS == 2u && group.is_there && here.lane == 0u {
            keep_pair(entry_index(group.i_a, group.i_c), total.zw);
            if SECOND {
                let of_eps = (-0.5 * sign_of_eps()) * four.rstd.x * four.rstd.x * total.x;
                keep_pair(entry_index(group.i_a, group.i_c) + task.second_origin, vec2<f32>(total.y, of_eps));
            }
        }
    }
    if PARAMETER_SUMS == 1u && here.item < task.items {
        let packs = task.levels.y * row_packs;
        let first = here.item * task.levels.y * d;
        var walk = start;
        for (var k = 0u; k < rounds(packs); k++) {
            if here.lane + k * LANES >= packs {
                continue;
            }
            let place = 4u * walk.pack;
            keep_pack(first + walk.row * d + place, of_weight[k], of_bias[k], min(4u, d - place));
            walk = walk_on(walk, step, row_packs);
        }
    }
}
