// Rows of two 16-bit elements a word that share words with their neighbours.

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
