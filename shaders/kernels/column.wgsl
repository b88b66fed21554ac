// column: the moments of `rows` rows of b, for groups that lie side by side. A lane takes four
// neighbouring columns of c * d, so that loads stay coalesced however short d is.
//
// grid     one lane a pack of columns and block of rows
// bytes    reads the tensor once, writes 16 bytes a column and block
// limits   `rows` bounds a lane's iterations
@group(0) @binding(6) var<storage, read_write> partials: array<vec4<f32>>; // [statistics, blocks, d] of (head, tail, squares, count)

@compute @workgroup_size(WORKGROUP_SIZE)
fn column(lanes: LaneInput) {
    let here = place(lanes);
    if here.item >= task.items {
        return;
    }
    let columns = column_item(here.item);
    let row_step = task.levels.z * task.levels.w;
    let first = row_index(columns.i_a, columns.row, 0u) + columns.place + task.input_shift;
    let start = load(first);
    let head = vec4<f32>(head_of(start.x), head_of(start.y), head_of(start.z), head_of(start.w));
    var moments = no_lane_moments();
    for (var i = 0u; i < columns.rows; i++) {
        accumulate(&moments, load(first + i * row_step) - head, vec4<f32>(1.0));
    }
    for (var i = 0u; i < columns.valid; i++) {
        partials[column_index(columns, i)] = vec4<f32>(head[i], moments.mean[i], moments.squares[i], moments.count[i]);
    }
}
