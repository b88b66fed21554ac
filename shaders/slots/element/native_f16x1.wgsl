// f16 as the adapter's own type, one element a word: rows of any length, anywhere.
alias Word = f16;
const ELEMENTS_A_WORD = 1u;
const HAVE_16_BITS = true;

fn element_of(word: Word, index: u32) -> f32 {
    return f32(word);
}

// Only words of four elements are read as one.
fn pack_of(word: Word) -> vec4<f32> {
    return vec4<f32>(f32(word));
}

fn word_of(value: vec4<f32>, i: u32) -> Word {
    return f16(value[i]);
}

fn rounded(value: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(vec4<f16>(value));
}
