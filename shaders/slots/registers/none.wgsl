// Packs of four elements that a lane takes at most. They are not held but read again: where a processor emulates
// the GPU an array that a variable indexes is memory as well, and a group that fits a cache is there already.
const REGISTERS = 4096u;

alias Held = u32;

fn hold(held: ptr<function, Held>, k: u32, value: vec4<f32>) {}

// The lane's k-th pack, which was taken from this index.
fn again(held: ptr<function, Held>, k: u32, index: u32) -> vec4<f32> {
    return retake(index);
}
