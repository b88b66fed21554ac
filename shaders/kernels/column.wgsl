// column: the moments of `rows` rows of b, for groups that lie side by side. A lane takes packs of four neighbouring
// columns of c * d, so that loads stay coalesced however short d is.
//
// grid     one team of LANES lanes a segment of columns and block of rows; ROW_LANES of them share a column
// bytes    reads the tensor once, writes 16 bytes a column and block
// steps    each lane the moments of its rows; where several share a column, one merges theirs in the order of rows
// limits   a lane's rows times REGISTERS bound its iterations; REGISTERS is 1 where ROW_LANES is not
@group(0) @binding(6) var<storage, read_write> partials: array<vec4<f32>>; // [statistics, blocks, d] of (head, tail, squares, count)

// Rows that a lane reads of one pack before it goes on to the next.
const ROWS_AT_ONCE = 8u;
// Whether it loads them all before it looks at the first.
override LOADS_FIRST: bool = false;
const KEPT = REGISTERS;
alias Kept = LaneMoments;

fn run(here: Place) {
    let columns = column_item(here.item, here.lane);
    let row_step = task.levels.z * task.levels.w;
    let first = row_index(columns.i_a, columns.row, 0u) + task.input_shift;
    let results = column_results(columns);
    var kept: KeptOfAll;
    for (var i = 0u; i < columns.rows; i += ROWS_AT_ONCE) {
        let end = min(i + ROWS_AT_ONCE, columns.rows);
        for (var place = columns.place; place < columns.end; place += column_step()) {
            let k = pack_number(columns, place);
            let head = heads_of(load(first + place));
            var moments = counting(kept_of(&kept, k), i);
            if LOADS_FIRST && end - i == ROWS_AT_ONCE {
                accumulate_all(&moments, first + i * row_step + place, row_step, head);
                keep(&kept, k, moments);
                continue;
            }
            for (var row = i; row < end; row++) {
                accumulate(&moments, load(first + row * row_step + place) - head, vec4<f32>(1.0));
            }
            keep(&kept, k, moments);
        }
    }
    if ROW_LANES > 1u {
        merge_lanes(here, columns, results, first, counting(kept[0], columns.rows));
        return;
    }
    if columns.rows == 0u {
        return;
    }
    for (var place = columns.place; place < columns.end; place += column_step()) {
        let head = heads_of(load(first + place));
        let moments = counting(kept_of(&kept, pack_number(columns, place)), columns.rows);
        for (var i = 0u; i < min(4u, columns.end - place); i++) {
            partials[column_index(results, place + i)] = four_of(component(moments, head[i], i));
        }
    }
}

// All rows that are read at once, from this index on.
fn accumulate_all(moments: ptr<function, LaneMoments>, from_index: u32, row_step: u32, head: vec4<f32>) {
    var loaded: array<vec4<f32>, ROWS_AT_ONCE>;
    for (var i = 0u; i < ROWS_AT_ONCE; i++) {
        loaded[i] = load(from_index + i * row_step);
    }
    for (var i = 0u; i < ROWS_AT_ONCE; i++) {
        accumulate(moments, loaded[i] - head, vec4<f32>(1.0));
    }
}

// The same moments, of so many rows: what is known need not be kept.
fn counting(moments: LaneMoments, rows: u32) -> LaneMoments {
    return LaneMoments(moments.mean, moments.squares, vec4<f32>(f32(rows)));
}

// What the lanes of a column have of their rows becomes one. Those without rows have moments of nothing; those beyond the
// last column are not asked.
fn merge_lanes(here: Place, columns: ColumnItem, results: ColumnResults, first: u32, own: LaneMoments) {
    var head = vec4<f32>();
    if columns.rows > 0u && columns.place < columns.end {
        head = heads_of(load(first + columns.place));
    }
    for (var i = 0u; i < 4u; i++) {
        tile[4u * own_lane + i] = four_of(component(own, head[i], i));
    }
    workgroupBarrier();
    let begin = segment_begin(columns, here.lane);
    for (var column = here.lane; column < column_step(); column += LANES) {
        if here.item < task.items && begin + column < columns.end {
            var moments = no_moments();
            for (var y = 0u; y < ROW_LANES; y++) {
                moments = merge(moments, moments_of(of_row_lane(here.lane, y, column)));
            }
            partials[column_index(results, begin + column)] = four_of(moments);
        }
    }
}
