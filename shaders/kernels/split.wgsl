// split: the moments of each partial of a group, for the merge kernel.
//
// grid     one team of LANES lanes a partial
// bytes    reads the tensor once, writes 16 bytes a partial
// limits   none: dispatches take as many partials as fit a binding
@group(0) @binding(6) var<storage, read_write> partials: array<vec4<f32>>; // [statistics, partials] of (head, tail, squares, count)

@compute @workgroup_size(WORKGROUP_SIZE)
fn split(lanes: LaneInput) {
    let here = place(lanes);
    let is_item = here.item < task.items;
    var rest = here.item;
    let segment = task.origin.w + rest % task.extent.w;
    rest /= task.extent.w;
    let i_c = task.origin.z + rest % task.extent.z;
    rest /= task.extent.z;
    let block = task.origin.y + rest % task.extent.y;
    let i_a = task.origin.x + rest / task.extent.y;

    let lane_moments = partial_moments(i_a, i_c, block, segment, here.lane, is_item);
    let moments = gather_moments(here.lane, lane_moments);
    if is_item && here.lane == 0u {
        let index = entry_index(i_a, i_c) * task.partials + block * task.segments + segment;
        partials[index] = vec4<f32>(moments.head, moments.tail, moments.squares, moments.count);
    }
}
