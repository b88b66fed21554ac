// f16 packed in u32, four elements a word: rows are whole packs. No feature needed.
alias Word = vec2<u32>;

fn load(index: u32) -> vec4<f32> {
    let word = read_word(index >> 2u);
    return vec4<f32>(unpack2x16float(word.x), unpack2x16float(word.y));
}

fn load_one(index: u32) -> f32 {
    return load(index)[index & 3u];
}

fn store(index: u32, value: vec4<f32>, valid: u32) {
    write_word(index >> 2u, vec2<u32>(pack_two(value.xy), pack_two(value.zw)));
}
