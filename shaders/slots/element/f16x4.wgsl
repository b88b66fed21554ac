// f16 packed in u32, four elements a word: rows are whole packs. No feature needed.
alias Word = vec2<u32>;
const ELEMENTS_A_WORD = 4u;
const HAVE_16_BITS = true;

fn element_of(word: Word, index: u32) -> f32 {
    return pack_of(word)[index & 3u];
}

fn pack_of(word: Word) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(word.x), unpack2x16float(word.y));
}

fn word_of(value: vec4<f32>, i: u32) -> Word {
    return pack_four(value);
}

fn rounded(value: vec4<f32>) -> vec4<f32> {
    return pack_of(word_of(value, 0u));
}
