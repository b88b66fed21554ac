// The output is another buffer than the tensor that is read.
@group(0) @binding(0) var<storage, read> source: array<Word>;       // [a, b, c, d]
@group(0) @binding(1) var<storage, read_write> result: array<Word>; // [a, b, c, d]

fn read_word(index: u32) -> Word {
    return source[index];
}

fn written_word(index: u32) -> Word {
    return result[index];
}

fn write_word(index: u32, word: Word) {
    result[index] = word;
}
