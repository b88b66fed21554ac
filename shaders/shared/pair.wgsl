// Two 16-bit parameters of one word; where the second is beyond the last, what is in its place stays.

fn pair(first: f32, second: f32, old: u32, valid: u32) -> u32 {
    let packed = pack_two(vec2<f32>(first, second));
    return select(packed, (packed & 0xffffu) | (old & 0xffff0000u), valid == 1u);
}
