// affine_flat: the apply step for packed 16-bit rows of odd length, which share words with their
// neighbours. The box is one run of memory; each lane owns whole words and looks every element up.
//
// grid     one lane a pack of four elements, counted from an even place of the window
// bytes    reads the tensor once, writes it once
@group(0) @binding(5) var<storage, read> statistics: array<vec4<f32>>; // [a, c] of (head, tail, rstd, variance)

// The element at `place` of the run.
fn element(place: u32) -> f32 {
    var rest = place;
    let i_d = task.origin.w + rest % task.extent.w;
    rest /= task.extent.w;
    let i_c = task.origin.z + rest % task.extent.z;
    rest /= task.extent.z;
    let i_b = task.origin.y + rest % task.extent.y;
    let i_a = task.origin.x + rest / task.extent.y;
    let value = load_one(row_index(i_a, i_b, i_c) + i_d + task.input_shift);
    let y = normalized(vec4<f32>(value), statistics[statistic_index(i_a, i_c)]);
    return affine(y, parameter_base(i_a, i_b, i_c), i_d).x;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn affine_flat(lanes: LaneInput) {
    let here = place(lanes);
    let first = row_index(task.origin.x, task.origin.y, task.origin.z) + task.origin.w + task.output_shift;
    let end = first + task.items;
    let index = (first & ~1u) + 4u * here.item;
    if index >= end {
        return;
    }
    var y = vec4<f32>();
    for (var i = 0u; i < 4u; i++) {
        if index + i >= first && index + i < end {
            y[i] = element(index + i - first);
        }
    }
    store_within(index, y, first, end);
}
