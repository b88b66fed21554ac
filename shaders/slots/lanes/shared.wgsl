// Lanes meet in workgroup memory.
@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    own_lane = index;
    side = 0u;
    veil = task.zero;
    run(place(workgroup, workgroups, own_lane));
}

// Neighbours that meet otherwise: a lane has none but itself.
fn reach() -> u32 {
    return 1u;
}

fn neighbour(value: f32, mask: u32) -> f32 {
    return value;
}
