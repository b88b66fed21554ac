// A block of groups, which a team takes one after the other.

// Of the block that is an item.
fn group_in_block(item: u32, number: u32) -> Group {
    let i_a = task.origin.x + item / task.extent.z * task.block_a + number / task.block_c;
    let i_c = task.origin.z + item % task.extent.z * task.block_c + number % task.block_c;
    let is_in_block = item < task.items && number < task.block_a * task.block_c;
    return Group(i_a, i_c, is_in_block && i_a < task.a_end && i_c < task.c_end, row_index(i_a, 0u, i_c));
}
