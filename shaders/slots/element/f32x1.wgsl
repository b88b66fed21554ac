// f32, one element a word: rows of any length, anywhere.
alias Word = f32;
const ELEMENTS_A_WORD = 1u;
const HAVE_16_BITS = false;

fn element_of(word: Word, index: u32) -> f32 {
    return word;
}

// Only words of four elements are read as one.
fn pack_of(word: Word) -> vec4<f32> {
    return vec4<f32>(word);
}

fn word_of(value: vec4<f32>, i: u32) -> Word {
    return value[i];
}

fn rounded(value: vec4<f32>) -> vec4<f32> {
    return value;
}
