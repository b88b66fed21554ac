// f16 as the adapter's own type, one element a word: rows of any length, anywhere.
alias Word = f16;

fn load_one(index: u32) -> f32 {
    return f32(read_word(index));
}

fn load(index: u32) -> vec4<f32> {
    return vec4<f32>(load_one(index), load_one(index + 1u), load_one(index + 2u), load_one(index + 3u));
}

fn store(index: u32, value: vec4<f32>, valid: u32) {
    for (var i = 0u; i < valid; i++) {
        write_word(index + i, f16(value[i]));
    }
}
