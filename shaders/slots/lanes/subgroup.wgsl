// Lanes of a subgroup meet by shuffles, and in workgroup memory beyond it.
struct LaneInput {
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_size) subgroup_size: u32,
    @builtin(subgroup_invocation_id) index: u32,
}

// The least size a subgroup can have here. A shuffle over fewer lanes stays within any actual one.
override SUBGROUP_SIZE: u32 = 4u;

// Twice WORKGROUP_SIZE. An override of its own, since naga 30 panics on an array sized by a product.
override EXCHANGED: u32 = 128u;

var<workgroup> exchanged: array<vec4<f32>, EXCHANGED>;
var<private> own_lane: u32;
var<private> side: u32;

// Lanes are numbered along their subgroups, which says nothing about local_invocation_index.
fn place(lanes: LaneInput) -> Place {
    own_lane = lanes.subgroup * lanes.subgroup_size + lanes.index;
    side = 0u;
    let number = lanes.workgroup.y * lanes.workgroups.x + lanes.workgroup.x;
    return Place(number * (WORKGROUP_SIZE / LANES) + own_lane / LANES, own_lane % LANES);
}

fn partner(value: vec4<f32>, mask: u32) -> vec4<f32> {
    if mask < SUBGROUP_SIZE {
        return subgroupShuffleXor(value, mask);
    }
    exchanged[side + own_lane] = value;
    workgroupBarrier();
    let other = exchanged[side + (own_lane ^ mask)];
    side = WORKGROUP_SIZE - side;
    return other;
}
