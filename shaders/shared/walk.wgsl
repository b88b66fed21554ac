// The packs of a box of rows, dealt to the lanes in turn: lane l takes packs l, l + LANES, ...
// Steps without a division, which emulated GPUs do one lane at a time.

struct Walk {
    row: u32,
    pack: u32,
}

fn walk_from(lane: u32, row_packs: u32) -> Walk {
    return Walk(lane / row_packs, lane % row_packs);
}

fn walk_step(row_packs: u32) -> Walk {
    return Walk(LANES / row_packs, LANES % row_packs);
}

fn walk_on(walk: Walk, step: Walk, row_packs: u32) -> Walk {
    let pack = walk.pack + step.pack;
    let wraps = u32(pack >= row_packs);
    return Walk(walk.row + step.row + wraps, pack - wraps * row_packs);
}
