// Two 16-bit elements a word.

// The first element of a word with the second of another.
fn first_of(word: u32, other: u32) -> u32 {
    return (word & 0xffffu) | (other & 0xffff0000u);
}
