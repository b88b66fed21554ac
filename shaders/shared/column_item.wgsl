// A segment of neighbouring columns of c * d for a team, and some rows of b. Lanes side by side take packs of four
// columns in turn, so that the team reads whole stretches of memory, and all rows before the next pack, or a few at a
// time. Where ROW_LANES lanes stand in one column, each takes some of the rows.

override ROW_LANES: u32 = 1u;
// Whether rows of b have parameters of their own.
override EACH_ROW: bool = false;

struct ColumnItem {
    i_a: u32,
    block: u32,
    // The lane's first row, and how many; none where there is no such item.
    row: u32,
    rows: u32,
    // The lane's first column, and where the team's end.
    place: u32,
    end: u32,
}

// Lanes of a team that stand side by side.
fn column_lanes() -> u32 {
    return LANES / ROW_LANES;
}

// What leads from a lane's pack to its next.
fn column_step() -> u32 {
    return 4u * column_lanes();
}

fn column_item(item: u32, lane: u32) -> ColumnItem {
    let begin = task.origin.w + (item % task.extent.w) * task.segment;
    let rest = item / task.extent.w;
    let block = task.origin.y + rest % task.extent.y;
    let rows = (task.rows + ROW_LANES - 1u) / ROW_LANES;
    let row = block * task.rows + lane / column_lanes() * rows;
    let end = min((block + 1u) * task.rows, task.levels.y);
    return ColumnItem(
        task.origin.x + rest / task.extent.y,
        block,
        row,
        select(0u, min(rows, end - min(row, end)), item < task.items),
        begin + 4u * (lane % column_lanes()),
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
    return (place - columns.place) / column_step();
}

// Where the results of columns go: that of the first, and how far it is to the next of the same i_d.
struct ColumnResults {
    first: u32,
    step: u32,
}

fn column_results(columns: ColumnItem) -> ColumnResults {
    let partials = task.partials;
    return ColumnResults(entry_index(columns.i_a, 0u) * partials + columns.block * task.levels.w, partials);
}

fn column_index(results: ColumnResults, place: u32) -> u32 {
    let d = task.levels.w;
    return results.first + place / d * results.step + place % d;
}
