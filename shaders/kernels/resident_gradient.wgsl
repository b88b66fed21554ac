// resident_gradient: LANES lanes hold what backward needs of a whole group in registers, group after group.
//
// grid     one team of LANES lanes a block of block_a * block_c groups, WORKGROUP_SIZE / LANES teams a workgroup
// bytes    reads x and the output's gradient once, writes the input's once; 8 bytes a parameter and block, or a group
// steps    load, and sum to the two sums of the group; store the gradient; add up those of the parameters
// limits   b * d elements fit LANES * REGISTERS packs; a 16-bit row is of even length
@group(0) @binding(6) var<storage, read_write> partials: array<vec2<f32>>; // (of weight, of bias)

// What is left for the parameters' gradients. 0: nothing; 1: a sum for each place of a group, which has the same
// parameter in every group; 2: a sum for each group, which has one parameter.
override PARAMETER_SUMS: u32 = 0u;
// Whether what reaches a threshold and eps is summed as well, where there is one parameter a group and no mean.
override SECOND: bool = false;

fn run(here: Place) {
    let is_item = here.item < task.items;
    let d = task.levels.w;
    let row_packs = packs_of(d);
    let row_step = task.levels.z * d;
    let start = walk_from(here.lane, row_packs);
    let step = walk_step(row_packs);

    var normalized: array<vec4<f32>, REGISTERS>;
    var gradient: array<vec4<f32>, REGISTERS>;
    var of_weight: array<vec4<f32>, REGISTERS>;
    var of_bias: array<vec4<f32>, REGISTERS>;
    for (var group = 0u; group < task.block_a * task.block_c; group++) {
        let i_a = task.origin.x + here.item / task.extent.z * task.block_a + group / task.block_c;
        let i_c = task.origin.z + here.item % task.extent.z * task.block_c + group % task.block_c;
        let is_group = is_item && i_a < task.rows && i_c < task.segment;
        let packs = select(0u, task.levels.y * row_packs, is_group);
        let first = row_index(i_a, 0u, i_c);
        let own = select(0u, statistic_index(i_a, i_c), is_group);
        let four = all_of(statistics[own]);

        let group_base = group_parameter(i_a, i_c);
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
            let terms = terms_at(first + walk.row * row_step + place, four, parameters);
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
        let total = gather_four(vec4<f32>(sums(product), sums(sum), sums(weight_sum), sums(bias_sum)));
        let through = of_statistics(total.x, total.y);

        walk = start;
        for (var k = 0u; k < rounds(packs); k++) {
            if here.lane + k * LANES >= packs {
                continue;
            }
            let place = 4u * walk.pack;
            let index = first + walk.row * row_step + place;
            let of_input = ((gradient[k] - vec4<f32>(through.x)) - normalized[k] * through.y) * four.rstd;
            store(index + task.output_shift, with_inflow(of_input, index), min(4u, d - place));
            walk = walk_on(walk, step, row_packs);
        }
        if PARAMETER_SUMS == 2u && is_group && here.lane == 0u {
            partials[entry_index(i_a, i_c)] = total.zw;
            if SECOND {
                let of_eps = (-0.5 * sign_of_eps()) * four.rstd.x * four.rstd.x * total.x;
                partials[entry_index(i_a, i_c) + task.second_origin] = vec2<f32>(total.y, of_eps);
            }
        }
    }
    if PARAMETER_SUMS == 1u && is_item {
        let packs = task.levels.y * row_packs;
        var walk = start;
        for (var k = 0u; k < rounds(packs); k++) {
            if here.lane + k * LANES >= packs {
                continue;
            }
            let place = 4u * walk.pack;
            let entry = here.item * task.levels.y * d + walk.row * d + place;
            for (var i = 0u; i < min(4u, d - place); i++) {
                partials[entry + i] = vec2<f32>(of_weight[k][i], of_bias[k][i]);
            }
            walk = walk_on(walk, step, row_packs);
        }
    }
}
