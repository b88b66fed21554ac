// f32, four elements a word: rows are whole packs.
alias Word = vec4<f32>;

fn load(index: u32) -> vec4<f32> {
    return read_word(index >> 2u);
}

fn load_one(index: u32) -> f32 {
    return read_word(index >> 2u)[index & 3u];
}

fn store(index: u32, value: vec4<f32>, valid: u32) {
    write_word(index >> 2u, value);
}
