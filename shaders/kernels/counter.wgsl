// counter: one more batch. A dispatch of its own, so that the running kernel reads the new number in
// every workgroup, and so that two recordings in one submit are two steps.
//
// grid     one lane
// bytes    reads and writes 8
@group(0) @binding(9) var<storage, read_write> num_batches_tracked: vec2<u32>; // I64, little-endian

@compute @workgroup_size(1)
fn counter() {
    let low = num_batches_tracked.x + 1u;
    num_batches_tracked = vec2<u32>(low, num_batches_tracked.y + u32(low == 0u));
}
