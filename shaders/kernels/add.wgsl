// add: input and residual become their sum, which other kernels then normalize.
//
// grid     one lane a pack of four elements of the whole run
// bytes    reads both once, writes the sum once
@compute @workgroup_size(WORKGROUP_SIZE)
fn add(lanes: LaneInput) {
    let here = place(lanes);
    if here.item >= task.items {
        return;
    }
    let index = task.sums_origin + 4u * here.item;
    take(index, min(4u, task.sums_len - index));
}
