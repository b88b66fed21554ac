// f16 as the adapter's own type, four elements a word: rows are whole packs.
alias Word = vec4<f16>;
const ELEMENTS_A_WORD = 4u;

fn element_of(word: Word, index: u32) -> f32 {
    return f32(word[index & 3u]);
}

fn pack_of(word: Word) -> vec4<f32> {
    return vec4<f32>(word);
}

fn word_of(value: vec4<f32>, i: u32) -> Word {
    return vec4<f16>(value);
}

fn rounded(value: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(vec4<f16>(value));
}
