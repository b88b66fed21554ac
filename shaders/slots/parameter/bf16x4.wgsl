// Parameters in bf16, four a word: neighbours in a pack are neighbours here.
alias ParameterWord = vec2<u32>;
const PARAMETERS_A_WORD = 4u;

fn parameter_value(word: ParameterWord, index: u32) -> f32 {
    let two = select(word.x, word.y, (index & 2u) == 2u);
    return bitcast<f32>(select(two << 16u, two & 0xffff0000u, (index & 1u) == 1u));
}

fn parameter_pack(word: ParameterWord) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(word.x << 16u, word.x & 0xffff0000u, word.y << 16u, word.y & 0xffff0000u));
}
