// sums: for each partial of a group or cell the sums of gradients and of their products with the normalized
// values. Partials are cut as the split kernel cuts them.
//
// grid     one team of LANES lanes a partial
// bytes    reads x and the output's gradient once, writes 8 bytes a partial
// limits   none: dispatches take as many partials as fit a binding
@group(0) @binding(6) var<storage, read_write> partials: array<vec2<f32>>; // (products, gradients)

// Whether the elements of a row have a statistic each.
override EACH: bool = false;

fn four_at(statistic: u32, i_d: u32) -> Four {
    if EACH {
        return each_of(
            statistics[statistic + statistic_place(i_d)],
            statistics[statistic + statistic_place(i_d + 1u)],
            statistics[statistic + statistic_place(i_d + 2u)],
            statistics[statistic + statistic_place(i_d + 3u)],
        );
    }
    return all_of(statistics[statistic]);
}

fn run(here: Place) {
    let is_item = here.item < task.items;
    let p = partial_item(here.item);
    let d = task.levels.w;
    let row = p.block * task.rows;
    let begin = p.segment * task.segment;
    let length = min(task.segment, d - begin);
    let row_packs = packs_of(length);
    let packs = select(0u, min(task.rows, task.levels.y - row) * row_packs, is_item);
    let first = row_index(p.i_a, row, p.i_c) + begin + bound_shifts();
    let row_step = task.levels.z * d;
    let statistic = statistic_base(p.i_a, row) + statistic_column(p.i_c);
    let group_base = group_parameter(p.i_a, p.i_c);
    let step = walk_step(row_packs);
    var walk = walk_from(here.lane, row_packs);
    var products = vec4<f32>();
    var gradients = vec4<f32>();
    var clipped = vec4<f32>();
    var eps = vec4<f32>();
    for (var pack = here.lane; pack < packs; pack += LANES) {
        let place = begin + 4u * walk.pack;
        let valid = min(4u, length - 4u * walk.pack);
        let parameters = parameters_at(group_base + row_parameter(row + walk.row), place);
        let four = four_at(statistic + statistic_row(walk.row), place);
        let terms = terms_at(first + walk.row * row_step + 4u * walk.pack, four, parameters);
        let both = summed(terms, parameters);
        products += masked(both.products, valid);
        gradients += masked(both.gradients, valid);
        if SECOND {
            clipped += masked(terms.clipped, valid);
            eps += masked(of_eps(terms, four, parameters), valid);
        }
        walk = walk_on(walk, step, row_packs);
    }
    let total = gather_sums(vec2<f32>(sums(products), sums(gradients)));
    let index = partial_index(p);
    if is_item && here.lane == 0u {
        partials[index] = total;
    }
    if SECOND {
        let second = gather_sums(vec2<f32>(sums(clipped), sums(eps)));
        if is_item && here.lane == 0u {
            partials[index + task.second_origin] = second;
        }
    }
}
