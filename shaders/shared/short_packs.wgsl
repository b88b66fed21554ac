// Masks for elements of which a row's last pack may be short: `select` drops what lies beyond, NaN too.

fn masked(value: vec4<f32>, valid: u32) -> vec4<f32> {
    return select(vec4<f32>(), value, vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(valid));
}

fn present(valid: u32) -> vec4<f32> {
    return masked(vec4<f32>(1.0), valid);
}

// The share of a new element among `count`: nothing where none is present.
fn share_of_one(one: vec4<f32>, count: vec4<f32>) -> vec4<f32> {
    return one / max(count, vec4<f32>(1.0));
}

// What a lane keeps of a pack for later: its elements, which may lie in several words.
alias Stored = vec4<f32>;

fn stored(word: Word, pack: vec4<f32>) -> Stored {
    return pack;
}

fn pack_from(stored: Stored) -> vec4<f32> {
    return stored;
}
