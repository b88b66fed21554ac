// collect_gradient: the input's gradient of groups whose sums lie in few parts. Each team collects those of its group
// itself, so no dispatch does it while the device waits.
//
// grid     one team of LANES lanes a segment of a row of d elements
// bytes    reads x and the output's gradient once, writes the input's once; 8 bytes a part and its weight for each team,
//          from a cache but for the first
// steps    COLLECTING lanes each every so many-th part, as those of the collect kernel would; these meet by shuffles
// limits   a 16-bit row is of even length; a group is one cell in parts, or cells in one part each
@group(0) @binding(6) var<storage, read> partials: array<vec2<f32>>; // [a, c, parts] of (products, gradients)

// Lanes that collect the sums of a group.
override COLLECTING: u32 = 1u;

fn by_weight(sums: vec2<f32>, part: u32) -> vec2<f32> {
    let parameter = (part / task.partials + task.sums_origin) % task.sums_len;
    return weighted(vec4<f32>(sums, 0.0, 0.0), parameters_at(bound_parameter(parameter), 0u)).xy;
}

// The weight is taken where a cell's sum is whole. Lanes without an item have nothing to add, and meet the others all the
// same.
fn sums_of_group(i_a: u32, i_c: u32, is_item: bool) -> vec2<f32> {
    let begin = entry_index(i_a, i_c) * task.sums_count;
    let count = select(0u, task.sums_count, is_item);
    let is_cell = task.partials == 1u;
    var own = vec2<f32>();
    for (var k = own_lane % COLLECTING; k < count; k += COLLECTING) {
        var sums = partials[begin + k];
        if is_cell {
            sums = by_weight(sums, begin + k);
        }
        own += sums;
    }
    let total = vec2<f32>(near_sum(own.x, 1u, COLLECTING), near_sum(own.y, 1u, COLLECTING));
    if is_cell {
        return total;
    }
    return positive_zero() + by_weight(total, begin);
}

fn run(here: Place) {
    let row = row_item(here.item);
    let sums = sums_of_group(row.i_a, row.i_c, here.item < task.items);
    write_gradients(row, here.lane, through_sums(sums));
}
