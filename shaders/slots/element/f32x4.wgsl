// f32, four elements a word: rows are whole packs.
alias Word = vec4<f32>;
const ELEMENTS_A_WORD = 4u;
const HAVE_16_BITS = false;

fn element_of(word: Word, index: u32) -> f32 {
    return word[index & 3u];
}

fn pack_of(word: Word) -> vec4<f32> {
    return word;
}

fn word_of(value: vec4<f32>, i: u32) -> Word {
    return value;
}

fn rounded(value: vec4<f32>) -> vec4<f32> {
    return value;
}
