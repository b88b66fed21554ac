// Reads the tensor that is added.

fn load_added_one(index: u32) -> f32 {
    return element_of(read_added(index / ELEMENTS_A_WORD), index);
}

fn load_added(index: u32) -> vec4<f32> {
    if ELEMENTS_A_WORD == 4u {
        return pack_of(read_added(index / 4u));
    }
    return vec4<f32>(
        load_added_one(index),
        load_added_one(index + 1u),
        load_added_one(index + 2u),
        load_added_one(index + 3u),
    );
}
