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
    run(place(workgroup, workgroups, own_lane));
}

// The least size a subgroup can have here. A shuffle over fewer lanes stays within any actual one.
override SUBGROUP_SIZE: u32 = 4u;

// Twice WORKGROUP_SIZE. An override of its own, since naga 30 panics on an array sized by a product.
override EXCHANGED: u32 = 128u;

var<workgroup> exchanged: array<vec4<f32>, EXCHANGED>;
var<private> own_lane: u32;
var<private> side: u32;

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
