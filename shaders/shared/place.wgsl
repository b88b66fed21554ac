// Where a lane stands: the item that it works on, and its number among the item's lanes.
struct Place {
    item: u32,
    lane: u32,
}

fn place(workgroup: vec3<u32>, workgroups: vec3<u32>, lane: u32) -> Place {
    let number = workgroup.y * workgroups.x + workgroup.x;
    return Place(number * (WORKGROUP_SIZE / LANES) + lane / LANES, lane % LANES);
}
