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
fn row_item(item: u32) -> RowItem {
    var rest = item;
    let i_c = task.origin.z + rest % task.extent.z;
    rest /= task.extent.z;
    let i_b = task.origin.y + rest % task.extent.y;
    rest /= task.extent.y;
    let i_a = task.origin.x + rest % task.extent.x;
    let begin = task.origin.w + rest / task.extent.x * task.segment;
    return RowItem(i_a, i_b, i_c, begin, min(begin + task.segment, task.place_end));
}
