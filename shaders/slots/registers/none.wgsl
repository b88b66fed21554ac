// Packs of four elements are not held but read again: where a processor emulates the GPU an array that a variable
// indexes is memory as well, and a group that fits a cache is there already.
alias Held = u32;
const HOLDS = false;

// How often a lane takes a pack, if there is one left for it.
fn rounds(packs: u32) -> u32 {
    return (packs + LANES - 1u) / LANES;
}

fn hold(held: ptr<function, Held>, k: u32, value: vec4<f32>) {}

// The lane's k-th pack, which was taken from this index.
fn again(held: ptr<function, Held>, k: u32, index: u32) -> vec4<f32> {
    return retake(index);
}
