// A tensor that is added: the residual forward, the gradient of the sum backward.
@group(0) @binding(11) var<storage, read> added: array<Word>; // [a, b, c, d]

fn read_added(index: u32) -> Word {
    return added[index];
}
