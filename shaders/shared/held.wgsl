// What a lane has read of its group stays in registers.
alias Held = array<vec4<f32>, REGISTERS>;
const HOLDS = true;

// How often a lane takes a pack, if there is one left for it. A number that a compiler knows: it writes the loop out, and
// what is indexed by its counter are registers.
fn rounds(packs: u32) -> u32 {
    return REGISTERS;
}

fn hold(held: ptr<function, Held>, k: u32, value: vec4<f32>) {
    (*held)[k] = value;
}

// The lane's k-th pack, which was taken from this index.
fn again(held: ptr<function, Held>, k: u32, index: u32) -> vec4<f32> {
    return (*held)[k];
}

// What was loaded of another group.
alias Ahead = array<Stored, REGISTERS>;

fn put_ahead(ahead: ptr<function, Ahead>, k: u32, value: Stored) {
    (*ahead)[k] = value;
}

fn from_ahead(ahead: ptr<function, Ahead>, k: u32) -> vec4<f32> {
    return pack_from((*ahead)[k]);
}
