// Reads the kernel's main tensor, which the output may replace.

fn load_one(index: u32) -> f32 {
    return element_of(read_word(index / ELEMENTS_A_WORD), index);
}

fn load(index: u32) -> vec4<f32> {
    if ELEMENTS_A_WORD == 4u {
        return pack_of(read_word(index / 4u));
    }
    return vec4<f32>(load_one(index), load_one(index + 1u), load_one(index + 2u), load_one(index + 3u));
}
