// f16 packed in u32, two elements a word: rows of any length to read, of even length to write.
alias Word = u32;

fn load_one(index: u32) -> f32 {
    return unpack2x16float(read_word(index >> 1u))[index & 1u];
}
