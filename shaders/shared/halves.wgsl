// Two 16-bit elements a word, row by row and across rows.

fn load(index: u32) -> vec4<f32> {
    return vec4<f32>(load_one(index), load_one(index + 1u), load_one(index + 2u), load_one(index + 3u));
}

// Rows and the window begin at even elements, so a pack holds whole words.
fn store(index: u32, value: vec4<f32>, valid: u32) {
    let word = index >> 1u;
    write_word(word, pack_two(value.xy));
    if valid > 2u {
        write_word(word + 1u, pack_two(value.zw));
    }
}

// Writes the elements of `value` at an even `index` that lie in [begin, end), and no bit beside them.
fn store_within(index: u32, value: vec4<f32>, begin: u32, end: u32) {
    store_half_words(index, pack_two(value.xy), begin, end);
    store_half_words(index + 2u, pack_two(value.zw), begin, end);
}

fn store_half_words(index: u32, packed: u32, begin: u32, end: u32) {
    let low = select(0u, 0xffffu, index >= begin && index < end);
    let high = select(0u, 0xffff0000u, index + 1u >= begin && index + 1u < end);
    let ours = low | high;
    if ours == 0u {
        return;
    }
    let word = index >> 1u;
    var kept = 0u;
    if ours != 0xffffffffu {
        kept = written_word(word) & ~ours;
    }
    write_word(word, kept | (packed & ours));
}
