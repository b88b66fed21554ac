// The output takes the place of the tensor that is read, so there is one binding: wgpu does not bind a buffer
// for reading and writing at once.
@group(0) @binding(1) var<storage, read_write> result: array<Word>; // [a, b, c, d]

fn read_word(index: u32) -> Word {
    return result[index];
}

fn written_word(index: u32) -> Word {
    return result[index];
}

fn write_word(index: u32, word: Word) {
    result[index] = word;
}
