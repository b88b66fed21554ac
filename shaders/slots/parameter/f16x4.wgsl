// Parameters in f16, four a word: neighbours in a pack are neighbours here.
alias ParameterWord = vec2<u32>;
const PARAMETERS_A_WORD = 4u;

fn parameter_value(word: ParameterWord, index: u32) -> f32 {
    return unpack2x16float(select(word.x, word.y, (index & 2u) == 2u))[index & 1u];
}

fn parameter_pack(word: ParameterWord) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(word.x), unpack2x16float(word.y));
}
