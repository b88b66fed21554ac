// f32, one element a word: rows of any length, anywhere.
alias Word = f32;

fn load_one(index: u32) -> f32 {
    return read_word(index);
}

fn load(index: u32) -> vec4<f32> {
    return vec4<f32>(read_word(index), read_word(index + 1u), read_word(index + 2u), read_word(index + 3u));
}

fn store(index: u32, value: vec4<f32>, valid: u32) {
    for (var i = 0u; i < valid; i++) {
        write_word(index + i, value[i]);
    }
}
