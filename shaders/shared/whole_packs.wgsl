// Masks for elements of which every pack is whole: nothing to mask.

fn masked(value: vec4<f32>, valid: u32) -> vec4<f32> {
    return value;
}

fn present(valid: u32) -> vec4<f32> {
    return vec4<f32>(1.0);
}

// The share of a new element among `count`: the same for all four.
fn share_of_one(one: vec4<f32>, count: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(1.0 / count.x);
}

// What a lane keeps of a pack for later: its word, of which elements of 16 bits fill half of the registers.
alias Stored = Word;

fn stored(word: Word, pack: vec4<f32>) -> Stored {
    return word;
}

fn pack_from(stored: Stored) -> vec4<f32> {
    return pack_of(stored);
}
