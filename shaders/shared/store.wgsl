// Writes the output. Packs begin at whole words; where the last word of a pack is not all valid, which happens
// at the end of a tensor alone, what else is in it stays. Compilers know how often the loop goes round and leave none: an
// end that they do not know would cost a lane five more of its iterations a pack.

fn store(index: u32, value: vec4<f32>, valid: u32) {
    if ELEMENTS_A_WORD == 4u {
        write_word(index / 4u, word_of(value, 0u));
        return;
    }
    for (var i = 0u; i < 4u; i += ELEMENTS_A_WORD) {
        if i < valid {
            let word = (index + i) / ELEMENTS_A_WORD;
            var ours = word_of(value, i);
            if ELEMENTS_A_WORD == 2u && valid - i < 2u {
                ours = first_of(ours, written_word(word));
            }
            write_word(word, ours);
        }
    }
}
