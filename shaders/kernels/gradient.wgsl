// gradient: the input's gradient, where its group's sums are at hand.
//
// grid     one team of LANES lanes a segment of a row of d elements
// bytes    reads x and the output's gradient once, writes the input's once
// limits   a 16-bit row is of even length
@group(0) @binding(13) var<storage, read> group_sums: array<vec2<f32>>; // [a, c] of (products, gradients)

fn run(here: Place) {
    if here.item >= task.items {
        return;
    }
    let row = row_item(here.item);
    let first = row_index(row.i_a, row.i_b, row.i_c);
    let base = parameter_base(row.i_a, row.i_b, row.i_c);
    let group = entry_index(row.i_a, row.i_c);
    let four = all_of(statistics[group + task.statistics_shift]);
    let through = through_of(group);
    var parameters = parameters_at(base, row.begin);

    for (var place = row.begin + 4u * here.lane; place < row.end; place += 4u * LANES) {
        if PARAMETER_STEP != 0u {
            parameters = parameters_at(base, place);
        }
        let index = first + place;
        let of_input = gradient_of(terms_at(index, four, parameters), four, through, parameters);
        store(index + task.output_shift, with_inflow(of_input, index), min(4u, row.end - place));
    }
}
