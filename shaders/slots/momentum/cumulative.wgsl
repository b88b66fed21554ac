// The plain average of all batches: 1 / num_batches_tracked, which lies on the device.
// Bound as what is written beside it, with which it may share a buffer.
@group(0) @binding(9) var<storage, read_write> num_batches_tracked: vec2<u32>; // I64, little-endian

fn momentum() -> f32 {
    return 1.0 / (f32(num_batches_tracked.y) * 4294967296.0 + f32(num_batches_tracked.x));
}

// Done before.
fn count_batch() {}
