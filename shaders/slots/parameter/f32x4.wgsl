// Parameters in f32, four a word: neighbours in a pack are neighbours here.
alias ParameterWord = vec4<f32>;
const PARAMETERS_A_WORD = 4u;

fn parameter_value(word: ParameterWord, index: u32) -> f32 {
    return word[index & 3u];
}

fn parameter_pack(word: ParameterWord) -> vec4<f32> {
    return word;
}
