// How the parameters of a pack's four elements lie, from a base and the place in the row.

// 0: one for the whole row; 1: neighbours; 2: one every d_divisor elements; 3: along c and d both;
// 4: as 2, where no pack has two.
override PARAMETER_STEP: u32 = 2u;

fn parameter_offset(place: u32) -> u32 {
    if PARAMETER_STEP == 2u || PARAMETER_STEP == 4u {
        return place / task.d_divisor;
    }
    if PARAMETER_STEP == 3u {
        let d = task.levels.w;
        return (place / d) * task.c_scale + (place % d) / task.d_divisor;
    }
    return place;
}
