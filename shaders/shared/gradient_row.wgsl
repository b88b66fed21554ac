// What a team writes of a row's gradients.
fn write_gradients(row: RowItem, lane: u32, through: Through) {
    let first = row_index(row.i_a, row.i_b, row.i_c);
    let shifts = bound_shifts();
    let base = parameter_base(row.i_a, row.i_b, row.i_c);
    let four = all_of(statistics[statistic_index(row.i_a, row.i_c)]);
    var parameters = parameters_at(base, row.begin);
    for (var place = row.begin + 4u * lane; place < row.end; place += 4u * LANES) {
        if PARAMETER_STEP != 0u {
            parameters = parameters_at(base, place);
        }
        let index = first + place;
        let of_input = gradient_of(terms_at(index + shifts, four, parameters), four, through, parameters);
        store(index + shifts.z, with_inflow(of_input, index), min(4u, row.end - place));
    }
}
