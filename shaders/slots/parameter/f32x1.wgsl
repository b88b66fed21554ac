// Parameters in f32, one a word.
alias ParameterWord = f32;
const PARAMETERS_A_WORD = 1u;

fn parameter_value(word: ParameterWord, index: u32) -> f32 {
    return word;
}

// Only whole packs of words are read as one.
fn parameter_pack(word: ParameterWord) -> vec4<f32> {
    return vec4<f32>(parameter_value(word, 0u));
}
