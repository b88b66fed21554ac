// A box that is one run of memory, element by element.

// (i_a, i_b, i_c, i_d) of the element at `place` of the run.
fn element_at(place: u32) -> vec4<u32> {
    var rest = place;
    let i_d = task.origin.w + rest % task.extent.w;
    rest /= task.extent.w;
    let i_c = task.origin.z + rest % task.extent.z;
    rest /= task.extent.z;
    return vec4<u32>(task.origin.x + rest / task.extent.y, task.origin.y + rest % task.extent.y, i_c, i_d);
}

// Writes pack `pack` of the run, counted from an even place, of the kernel's own elements.
fn store_run(pack: u32) {
    let first = row_index(task.origin.x, task.origin.y, task.origin.z) + task.origin.w + task.output_shift;
    let end = first + task.items;
    let index = (first & ~1u) + 4u * pack;
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
