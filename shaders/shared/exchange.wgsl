// Lanes of a workgroup meet in its memory.

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
    return met(own_lane ^ mask);
}

// Neighbour i gets the value of the item's i-th neighbourhood, of which there are no more than are within reach. Every
// lane of the workgroup has to call it.
fn one_of_each(value: vec4<f32>, neighbourhoods: u32) -> vec4<f32> {
    let own = own_lane / reach();
    if own_lane % reach() == 0u {
        exchanged[side + own] = value;
    }
    return met(own / neighbourhoods * neighbourhoods + own_lane % neighbourhoods);
}

fn met(place: u32) -> vec4<f32> {
    workgroupBarrier();
    let other = exchanged[side + place];
    side = WORKGROUP_SIZE - side;
    return other;
}
