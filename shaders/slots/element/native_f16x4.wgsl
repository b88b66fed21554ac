// f16 as the adapter's own type, four elements a word: rows are whole packs. They are read and written as two u32: of f16
// NVIDIA's compiler loads one at a time.
alias Word = vec2<u32>;
const ELEMENTS_A_WORD = 4u;
const HAVE_16_BITS = true;

fn element_of(word: Word, index: u32) -> f32 {
    return pack_of(word)[index & 3u];
}

fn pack_of(word: Word) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(word.x), unpack2x16float(word.y));
}

// Of what f16 holds, pack2x16float has nothing left to round; infinities and NaN, which WGSL leaves open there, every
// backend's own conversion keeps.
fn word_of(value: vec4<f32>, i: u32) -> Word {
    let fitting = rounded(value);
    return vec2<u32>(pack2x16float(fitting.xy), pack2x16float(fitting.zw));
}

fn rounded(value: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(vec4<f16>(value));
}
