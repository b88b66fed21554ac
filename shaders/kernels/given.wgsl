// given: running estimates take the place of statistics of the input, where somebody keeps those or mixes them.
//
// grid     one lane a statistic
// bytes    reads 8 bytes, writes 16 bytes a statistic
@group(0) @binding(5) var<storage, read_write> statistics: array<vec4<f32>>; // [a, c] of (head, tail, rstd, variance)

fn run(here: Place) {
    if here.item >= task.items {
        return;
    }
    let i_a = task.origin.x + here.item / task.extent.z;
    let i_c = task.origin.z + here.item % task.extent.z;
    statistics[statistic_index(i_a, i_c)] = known(first_known(i_a) + i_c);
}
