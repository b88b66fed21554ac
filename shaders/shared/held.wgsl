// What a lane has read of its group stays in registers.
alias Held = array<vec4<f32>, REGISTERS>;

fn hold(held: ptr<function, Held>, k: u32, value: vec4<f32>) {
    (*held)[k] = value;
}

// The lane's k-th pack, which was taken from this index.
fn again(held: ptr<function, Held>, k: u32, index: u32) -> vec4<f32> {
    return (*held)[k];
}
