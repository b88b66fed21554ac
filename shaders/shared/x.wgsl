// What was normalized, for backward.
@group(0) @binding(10) var<storage, read> x: array<Word>; // [a, b, c, d]

fn load_x_one(index: u32) -> f32 {
    return element_of(x[index / ELEMENTS_A_WORD], index);
}

fn load_x(index: u32) -> vec4<f32> {
    if ELEMENTS_A_WORD == 4u {
        return pack_of(x[index / 4u]);
    }
    return vec4<f32>(load_x_one(index), load_x_one(index + 1u), load_x_one(index + 2u), load_x_one(index + 3u));
}
