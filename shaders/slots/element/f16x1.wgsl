// f16 packed in u32, two elements a word: rows of any length to read, of even length to write.
alias Word = u32;
const ELEMENTS_A_WORD = 2u;
const HAVE_16_BITS = true;

fn element_of(word: Word, index: u32) -> f32 {
    return unpack2x16float(word)[index & 1u];
}

// Only words of four elements are read as one.
fn pack_of(word: Word) -> vec4<f32> {
    return vec4<f32>(element_of(word, 0u));
}

fn word_of(value: vec4<f32>, i: u32) -> Word {
    return pack_two(vec2<f32>(value[i], value[i + 1u]));
}

fn rounded(value: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(word_of(value, 0u)), unpack2x16float(word_of(value, 2u)));
}
