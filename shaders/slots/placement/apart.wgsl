// Output is another buffer than input.
@group(0) @binding(0) var<storage, read> input: array<Word>;        // [a, b, c, d]
@group(0) @binding(1) var<storage, read_write> output: array<Word>; // [a, b, c, d]

fn read_word(index: u32) -> Word {
    return input[index];
}

fn written_word(index: u32) -> Word {
    return output[index];
}

fn write_word(index: u32, word: Word) {
    output[index] = word;
}
