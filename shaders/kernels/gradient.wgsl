// gradient: the input's gradient, where its group's sums are at hand.
//
// grid     one team of LANES lanes a segment of a row; a row is d elements, or c * d with COLUMNS
// bytes    reads x and the output's gradient once, writes the input's once
// limits   a 16-bit row is of even length
@group(0) @binding(13) var<storage, read> group_sums: array<vec2<f32>>; // [a, c] of (products, gradients)

@compute @workgroup_size(WORKGROUP_SIZE)
fn gradient_rows(lanes: LaneInput) {
    let here = place(lanes);
    if here.item >= task.items {
        return;
    }
    let row = row_item(here.item);
    let first = row_index(row.i_a, row.i_b, row.i_c);
    let base = parameter_base(row.i_a, row.i_b, row.i_c);
    let d = task.levels.w;
    var group = entry_index(row.i_a, row.i_c);
    var four = all_of(statistics[group + task.statistics_shift]);
    var through = through_of(group);

    for (var place = row.begin + 4u * here.lane; place < row.end; place += 4u * LANES) {
        if COLUMNS {
            let last = row.end - 1u;
            let g0 = entry_index(row.i_a, place / d);
            let g1 = entry_index(row.i_a, min(place + 1u, last) / d);
            let g2 = entry_index(row.i_a, min(place + 2u, last) / d);
            let g3 = entry_index(row.i_a, min(place + 3u, last) / d);
            let shift = task.statistics_shift;
            four = each_of(statistics[g0 + shift], statistics[g1 + shift], statistics[g2 + shift], statistics[g3 + shift]);
            through = each_through(g0, g1, g2, g3);
        }
        let index = first + place;
        let of_input = gradient_of(terms_at(index, four, base, place), four, through, base, place);
        store(index + task.output_shift, with_inflow(of_input, index), min(4u, row.end - place));
    }
}
