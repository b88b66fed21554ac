// How the parameters of a pack's four elements lie, from a base and the place in the row.

// 0: one for the whole row; 1: neighbours; 2: one every d_divisor elements; 3: along c and d both;
// 4: as 2, where no pack has two.
override PARAMETER_STEP: u32 = 2u;

fn parameter_offsets(place: u32) -> vec4<u32> {
    let four = vec4<u32>(place) + vec4<u32>(0u, 1u, 2u, 3u);
    if PARAMETER_STEP == 2u {
        return four / task.d_divisor;
    }
    if PARAMETER_STEP == 3u {
        let d = task.levels.w;
        return (four / d) * task.c_scale + (four % d) / task.d_divisor;
    }
    return four;
}
