// collect_gradient: the input's gradient of groups whose sums lie in few parts. Each team collects those of its group
// itself, so no dispatch does it while the device waits.
//
// grid     one team of LANES lanes a segment of a row of d elements
// bytes    reads x and the output's gradient once, writes the input's once; 8 bytes a part and its weight for each team,
//          from a cache but for the first
// limits   a 16-bit row is of even length; parts of a group are no more than the neighbours that shuffles join
@group(0) @binding(6) var<storage, read> partials: array<vec2<f32>>; // [a, c, cells, parts] of (products, gradients)

// Lanes without an item, or beyond the parts, have nothing to add, and meet the others all the same.
fn sums_of_group(i_a: u32, i_c: u32, is_item: bool) -> vec2<f32> {
    let part = own_lane % reach();
    var own = vec2<f32>();
    if is_item && part < task.sums_count {
        let index = entry_index(i_a, i_c) * task.sums_count + part;
        let parameter = (index / task.partials + task.sums_origin) % task.sums_len;
        own = weighted(vec4<f32>(partials[index], 0.0, 0.0), parameters_at(parameter, 0u)).xy;
    }
    return vec2<f32>(near_sum(own.x, 1u, reach()), near_sum(own.y, 1u, reach()));
}

fn run(here: Place) {
    let is_item = here.item < task.items;
    let row = row_item(here.item);
    let through = through_sums(sums_of_group(row.i_a, row.i_c, is_item));
    if !is_item {
        return;
    }
    write_gradients(row, here.lane, through);
}
