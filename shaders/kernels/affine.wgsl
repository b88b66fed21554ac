// affine: the apply step, where the statistics are at hand.
//
// grid     one team of LANES lanes a segment of a row of d elements
// bytes    reads the tensor once, writes it once
// limits   a 16-bit row is of even length

fn run(here: Place) {
    if here.item >= task.items {
        return;
    }
    let row = row_item(here.item);
    let first = row_index(row.i_a, row.i_b, row.i_c);
    let base = parameter_base(row.i_a, row.i_b, row.i_c);
    let four = all_of(known(row.i_a, row.i_c));
    var parameters = parameters_at(base, row.begin);

    for (var place = row.begin + 4u * here.lane; place < row.end; place += 4u * LANES) {
        if PARAMETER_STEP != 0u {
            parameters = parameters_at(base, place);
        }
        let value = normalized_by(load(first + place + task.input_shift), four);
        store(first + place + task.output_shift, activate(affine(value, parameters)), min(4u, row.end - place));
    }
}
