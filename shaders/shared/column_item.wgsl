// Four neighbouring columns of c * d, and some rows of b.

struct ColumnItem {
    i_a: u32,
    block: u32,
    // The first row, and how many.
    row: u32,
    rows: u32,
    // The first column, and how many are meant.
    place: u32,
    valid: u32,
}

fn column_item(item: u32) -> ColumnItem {
    let place = task.origin.w + 4u * (item % task.extent.w);
    let rest = item / task.extent.w;
    let block = task.origin.y + rest % task.extent.y;
    let row = block * task.rows;
    let end = (task.origin.z + task.extent.z) * task.levels.w;
    return ColumnItem(
        task.origin.x + rest / task.extent.y,
        block,
        row,
        min(task.rows, task.levels.y - row),
        place,
        min(4u, end - place),
    );
}

// Where the result of the i-th of its columns goes.
fn column_index(columns: ColumnItem, i: u32) -> u32 {
    let d = task.levels.w;
    let place = columns.place + i;
    return entry_index(columns.i_a, place / d) * task.partials + columns.block * d + place % d;
}
