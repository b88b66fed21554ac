// f16 as the adapter's own type, four elements a word: rows are whole packs.
alias Word = vec4<f16>;

fn load(index: u32) -> vec4<f32> {
    return vec4<f32>(read_word(index >> 2u));
}

fn load_one(index: u32) -> f32 {
    return f32(read_word(index >> 2u)[index & 3u]);
}

fn store(index: u32, value: vec4<f32>, valid: u32) {
    write_word(index >> 2u, vec4<f16>(value));
}
