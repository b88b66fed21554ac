// Sums that other dispatches read, added to those of earlier chunks.
const SUMS_A_WORD = 1u;
@group(0) @binding(13) var<storage, read_write> group_sums: array<vec2<f32>>; // (products, gradients)

fn put(item: u32, first: vec2<f32>, second: vec2<f32>, valid: u32) {
    let index = item + task.channel_origin;
    let earlier = select(group_sums[index], vec2<f32>(), task.is_first_chunk == 1u);
    group_sums[index] = earlier + first;
}
