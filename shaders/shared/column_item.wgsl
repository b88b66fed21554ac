// A segment of neighbouring columns of c * d for a team, and some rows of b. The lanes take packs of four columns in
// turn, so that the team reads whole stretches of memory, and all rows before the next pack, or a few at a time.

// Whether rows of b have parameters of their own.
override EACH_ROW: bool = false;

struct ColumnItem {
    i_a: u32,
    block: u32,
    // The first row, and how many.
    row: u32,
    rows: u32,
    // The lane's first column, and where the team's end.
    place: u32,
    end: u32,
}

fn column_item(item: u32, lane: u32) -> ColumnItem {
    let begin = task.origin.w + (item % task.extent.w) * task.segment;
    let rest = item / task.extent.w;
    let block = task.origin.y + rest % task.extent.y;
    let row = block * task.rows;
    return ColumnItem(
        task.origin.x + rest / task.extent.y,
        block,
        row,
        min(task.rows, task.levels.y - row),
        begin + 4u * lane,
        min(begin + task.segment, task.place_end),
    );
}

// i_c of the four columns from `place` on; the last one's for those beyond the end.
fn columns_of(columns: ColumnItem, place: u32) -> vec4<u32> {
    return min(vec4<u32>(place) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(columns.end - 1u)) / task.levels.w;
}

// The number of the lane's pack that begins at `place`. Loops run over places, not numbers: a compiler that can count
// them unrolls them with all that is inside.
fn pack_number(columns: ColumnItem, place: u32) -> u32 {
    return (place - columns.place) / (4u * LANES);
}

// Where the result of a column goes.
fn column_index(columns: ColumnItem, place: u32) -> u32 {
    let d = task.levels.w;
    return entry_index(columns.i_a, place / d) * task.partials + columns.block * d + place % d;
}
