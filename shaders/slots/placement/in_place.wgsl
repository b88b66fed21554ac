// Output is input, so there is one binding: wgpu does not bind a buffer for reading and writing at once.
@group(0) @binding(1) var<storage, read_write> output: array<Word>; // [a, b, c, d]

fn read_word(index: u32) -> Word {
    return output[index];
}

fn written_word(index: u32) -> Word {
    return output[index];
}

fn write_word(index: u32, word: Word) {
    output[index] = word;
}
