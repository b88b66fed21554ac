// The number of batches so far.
@group(0) @binding(9) var<storage, read_write> num_batches_tracked: vec2<u32>; // I64, little-endian

fn count() {
    let low = num_batches_tracked.x + 1u;
    num_batches_tracked = vec2<u32>(low, num_batches_tracked.y + u32(low == 0u));
}
