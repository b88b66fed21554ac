// A segment of a row of d elements for a team that writes it.

struct RowItem {
    // Counted from origin.x on in the kernel's own steps, which may be several groups.
    i_a: u32,
    i_b: u32,
    i_c: u32,
    begin: u32,
    end: u32,
}

// The same segment of all rows comes before the next: its parameters, where they lie along the row, are in a cache then.
// Beyond the last item there is nothing of a row: no lane leaves early, since fields of the task that are read after that
// cost a software adapter eight times as much.
fn row_item(item: u32) -> RowItem {
    var rest = item;
    let i_c = task.origin.z + rest % task.extent.z;
    rest /= task.extent.z;
    let i_b = task.origin.y + rest % task.extent.y;
    rest /= task.extent.y;
    let i_a = task.origin.x + rest % task.extent.x;
    let begin = task.origin.w + rest / task.extent.x * task.segment;
    let end = min(begin + task.segment, task.place_end);
    let is_item = item < task.items;
    return RowItem(i_a, i_b, i_c, select(0u, begin, is_item), select(0u, end, is_item));
}
