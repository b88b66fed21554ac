// A segment of a row of d elements for a team that writes it.

struct RowItem {
    i_a: u32,
    i_b: u32,
    i_c: u32,
    begin: u32,
    end: u32,
}

fn row_item(item: u32) -> RowItem {
    var rest = item;
    let begin = task.origin.w + (rest % task.extent.w) * task.segment;
    rest /= task.extent.w;
    let i_c = task.origin.z + rest % task.extent.z;
    rest /= task.extent.z;
    let i_b = task.origin.y + rest % task.extent.y;
    return RowItem(task.origin.x + rest / task.extent.y, i_b, i_c, begin, min(begin + task.segment, task.place_end));
}
