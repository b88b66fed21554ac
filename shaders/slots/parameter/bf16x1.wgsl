// Parameters in bf16, two a word.
alias ParameterWord = u32;
const PARAMETERS_A_WORD = 2u;

fn parameter_value(word: ParameterWord, index: u32) -> f32 {
    return bitcast<f32>(select(word << 16u, word & 0xffff0000u, (index & 1u) == 1u));
}

// Only whole packs of words are read as one.
fn parameter_pack(word: ParameterWord) -> vec4<f32> {
    return vec4<f32>(parameter_value(word, 0u));
}
