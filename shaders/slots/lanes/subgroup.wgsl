// Lanes of a subgroup meet by shuffles, and in workgroup memory beyond it.
// They are numbered along their subgroups, which says nothing about local_invocation_index.
//
// What comes in are parameters and no struct: naga 30 loses a struct's subgroup built-ins on the way to Direct3D.
@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_size) subgroup_size: u32,
    @builtin(subgroup_invocation_id) index: u32,
) {
    own_lane = subgroup * subgroup_size + index;
    side = 0u;
    veil = task.zero;
    run(place(workgroup, workgroups, own_lane));
}

// The least size a subgroup can have here. A shuffle over fewer lanes stays within any actual one.
override SUBGROUP_SIZE: u32 = 4u;

// Neighbours of an item that meet by shuffles.
fn reach() -> u32 {
    return min(SUBGROUP_SIZE, LANES);
}

// The value of the neighbour whose number differs in this bit.
fn neighbour(value: f32, mask: u32) -> f32 {
    return subgroupShuffleXor(value, mask);
}
