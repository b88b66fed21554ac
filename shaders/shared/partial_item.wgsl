// A partial of a group or cell: some rows of b, or a segment of one row.

struct PartialItem {
    i_a: u32,
    i_c: u32,
    block: u32,
    segment: u32,
}

fn partial_item(item: u32) -> PartialItem {
    var rest = item;
    let segment = task.origin.w + rest % task.extent.w;
    rest /= task.extent.w;
    let i_c = task.origin.z + rest % task.extent.z;
    rest /= task.extent.z;
    return PartialItem(task.origin.x + rest / task.extent.y, i_c, task.origin.y + rest % task.extent.y, segment);
}

// Where its result goes.
fn partial_index(partial: PartialItem) -> u32 {
    return entry_index(partial.i_a, partial.i_c) * task.partials + partial.block * task.segments + partial.segment;
}
