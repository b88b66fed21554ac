// gradient_columns: the input's gradient for groups that lie side by side, where their sums are at hand. What belongs
// to a column is loaded once for several rows.
//
// grid     one team of LANES lanes a segment of columns of c * d and `rows` rows of b
// bytes    reads x and the output's gradient once, writes the input's once; 24 bytes a column and `rows` rows
// limits   a 16-bit row is of even length
fn run(here: Place) {
    let columns = column_item(here.item, here.lane);
    let d = task.levels.w;
    let row_step = task.levels.z * d;
    let first = row_index(columns.i_a, columns.row, 0u);
    let shifts = bound_shifts();
    let base = group_parameter(columns.i_a, 0u);
    let entry = entry_index(columns.i_a, 0u);
    let shift = task.statistics_shift;

    for (var place = columns.place; place < columns.end; place += column_step()) {
        let g = vec4<u32>(entry) + columns_of(columns, place);
        let s = g + shift;
        let four = each_of(statistics[s.x], statistics[s.y], statistics[s.z], statistics[s.w]);
        let through = each_through(g);
        var parameters = parameters_at(base + row_parameter(columns.row), place);
        for (var i = 0u; i < columns.rows; i++) {
            if EACH_ROW {
                parameters = parameters_at(base + row_parameter(columns.row + i), place);
            }
            let index = first + i * row_step + place;
            let of_input = gradient_of(terms_at(index + shifts, four, parameters), four, through, parameters);
            store(index + shifts.z, with_inflow(of_input, index), min(4u, columns.end - place));
        }
    }
}
