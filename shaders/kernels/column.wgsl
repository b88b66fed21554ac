// column: the moments of `rows` rows of b, for groups that lie side by side. A lane takes packs of four neighbouring
// columns of c * d, so that loads stay coalesced however short d is.
//
// grid     one team of LANES lanes a segment of LANES * REGISTERS packs of columns and block of rows
// bytes    reads the tensor once, writes 16 bytes a column and block
// limits   `rows` times REGISTERS bounds a lane's iterations
@group(0) @binding(6) var<storage, read_write> partials: array<vec4<f32>>; // [statistics, blocks, d] of (head, tail, squares, count)

// Rows that a lane reads of one pack before it goes on to the next.
const ROWS_AT_ONCE = 8u;

fn run(here: Place) {
    if here.item >= task.items {
        return;
    }
    let columns = column_item(here.item, here.lane);
    let row_step = task.levels.z * task.levels.w;
    let first = row_index(columns.i_a, columns.row, 0u) + task.input_shift;
    var kept: array<LaneMoments, REGISTERS>;
    for (var i = 0u; i < columns.rows; i += ROWS_AT_ONCE) {
        let end = min(i + ROWS_AT_ONCE, columns.rows);
        for (var place = columns.place; place < columns.end; place += 4u * LANES) {
            let k = pack_number(columns, place);
            let head = heads_of(load(first + place));
            var moments = kept[k];
            for (var row = i; row < end; row++) {
                accumulate(&moments, load(first + row * row_step + place) - head, vec4<f32>(1.0));
            }
            kept[k] = moments;
        }
    }
    for (var place = columns.place; place < columns.end; place += 4u * LANES) {
        let head = heads_of(load(first + place));
        let moments = kept[pack_number(columns, place)];
        for (var i = 0u; i < min(4u, columns.end - place); i++) {
            partials[column_index(columns, place + i)] =
                vec4<f32>(head[i], moments.mean[i], moments.squares[i], moments.count[i]);
        }
    }
}

fn heads_of(start: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(head_of(start.x), head_of(start.y), head_of(start.z), head_of(start.w));
}
