// affine_columns: the apply step for groups that lie side by side, where the statistics are at hand. What belongs to
// a column is loaded once for several rows.
//
// grid     one team of LANES lanes a segment of columns of c * d and `rows` rows of b
// bytes    reads the tensor once, writes it once; 16 bytes a column and `rows` rows
// limits   a 16-bit row is of even length
fn run(here: Place) {
    let columns = column_item(here.item, here.lane);
    let d = task.levels.w;
    let row_step = task.levels.z * d;
    let first = row_index(columns.i_a, columns.row, 0u) + bound_shifts();
    let base = group_parameter(columns.i_a, 0u);
    let known_base = first_known(columns.i_a);

    for (var place = columns.place; place < columns.end; place += column_step()) {
        let k = vec4<u32>(known_base) + columns_of(columns, place);
        let four = each_of(known(k.x), known(k.y), known(k.z), known(k.w));
        var parameters = parameters_at(base + row_parameter(columns.row), place);
        for (var i = 0u; i < columns.rows; i++) {
            if EACH_ROW {
                parameters = parameters_at(base + row_parameter(columns.row + i), place);
            }
            let at = first + i * row_step + place;
            let value = normalized_by(load(at.x), four);
            store(at.y, activate(affine(value, parameters)), min(4u, columns.end - place));
        }
    }
}
