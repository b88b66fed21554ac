// Values that no compiler looks behind. Those of Direct3D and Metal may regroup what is added: of (x - head) - tail they
// make x - (head + tail), and of the digits that the tail is there for nothing is left. So what has to be rounded before
// it is used goes through here.

// 0, which no compiler knows. Read from `task` once: a processor that stands in for a GPU reads it lane by lane in a loop.
var<private> veil: u32;

fn hidden(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) ^ veil);
}

fn hidden_four(x: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(x) ^ vec4<u32>(veil));
}
