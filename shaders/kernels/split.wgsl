// split: the moments of each partial of a group, for the kernel that merges them.
//
// grid     one team of LANES lanes a partial
// bytes    reads the tensor once, writes 16 bytes a partial
// limits   none: dispatches take as many partials as fit a binding
@group(0) @binding(6) var<storage, read_write> partials: array<vec4<f32>>; // [statistics, partials] of (head, tail, squares, count)

fn run(here: Place) {
    let is_item = here.item < task.items;
    let p = partial_item(here.item);
    let lane_moments = partial_moments(cut_of_groups(), p.i_a, p.i_c, p.block, p.segment, here.lane, is_item);
    let moments = gather_moments(here.lane, lane_moments);
    let index = partial_index(p);
    if is_item && here.lane == 0u {
        partials[index] = four_of(moments);
    }
}
