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

// The first so many lanes of each neighbourhood hand on what they have to all of so many lanes, of which those that do are
// no more than are within reach: neighbour i gets the i-th. Every lane of the workgroup has to call it.
fn some_of_each(value: vec4<f32>, some: u32, lanes: u32) -> vec4<f32> {
    let all = lanes / reach() * some;
    let neighbourhood = own_lane / reach();
    let number = own_lane % reach();
    if number < some {
        exchanged[side + neighbourhood * some + number] = value;
    }
    return met(own_lane / lanes * all + number % all);
}

fn met(place: u32) -> vec4<f32> {
    workgroupBarrier();
    let other = exchanged[side + place];
    side = WORKGROUP_SIZE - side;
    return other;
}
