// A group that a team takes.
struct Group {
    i_a: u32,
    i_c: u32,
    is_there: bool,
    // Index of its first element.
    first: u32,
}

// That which is an item.
fn group_of(item: u32) -> Group {
    let i_a = task.origin.x + item / task.extent.z;
    let i_c = task.origin.z + item % task.extent.z;
    return Group(i_a, i_c, item < task.items, row_index(i_a, 0u, i_c));
}

fn packs_in(group: Group) -> u32 {
    return select(0u, task.levels.y * packs_of(task.levels.w), group.is_there);
}
