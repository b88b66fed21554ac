// Lanes meet in workgroup memory.
@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    own_lane = index;
    side = 0u;
    run(place(workgroup, workgroups, own_lane));
}

// Two sides in turn, so that one barrier a meeting is enough: whoever writes to a side again has
// passed the barrier of the other side, and so has everybody who still read this one.
// Twice WORKGROUP_SIZE. An override of its own, since naga 30 panics on an array sized by a product.
override EXCHANGED: u32 = 128u;

var<workgroup> exchanged: array<vec4<f32>, EXCHANGED>;
var<private> own_lane: u32;
var<private> side: u32;

// The value of the lane whose number differs in this bit. Every lane of the workgroup has to call it.
fn partner(value: vec4<f32>, mask: u32) -> vec4<f32> {
    exchanged[side + own_lane] = value;
    workgroupBarrier();
    let other = exchanged[side + (own_lane ^ mask)];
    side = WORKGROUP_SIZE - side;
    return other;
}
