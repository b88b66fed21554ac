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
    let d = task.levels.w;
    let columns = task.levels.z * d;
    let place = task.origin.w + 4u * (here.item % task.extent.w);
    let rest = here.item / task.extent.w;
    let block = task.origin.y + rest % task.extent.y;
    let i_a = task.origin.x + rest / task.extent.y;
    let row = block * task.rows;
    let rows = min(task.rows, task.levels.y - row);
    let valid = min(4u, (task.origin.z + task.extent.z) * d - place);

    let first = row_index(i_a, row, 0u) + place + task.input_shift;
    let start = load(first);
    let head = vec4<f32>(head_of(start.x), head_of(start.y), head_of(start.z), head_of(start.w));
    var moments = no_lane_moments();
    for (var i = 0u; i < rows; i++) {
        accumulate(&moments, load(first + i * columns) - head, vec4<f32>(1.0));
    }
    for (var i = 0u; i < valid; i++) {
        let statistic = entry_index(i_a, (place + i) / d);
        let index = statistic * task.partials + block * d + (place + i) % d;
        partials[index] = vec4<f32>(head[i], moments.mean[i], moments.squares[i], moments.count[i]);
    }
}
