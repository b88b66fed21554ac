// The packs of a box of rows, dealt to the lanes in turn: lane l takes packs l, l + LANES, ...
// Steps without a division, which emulated GPUs do one lane at a time.

// Whether the box is one row, so that there is nothing to walk but its packs.
override ONE_ROW: bool = false;

struct Walk {
    row: u32,
    pack: u32,
}

fn walk_from(lane: u32, row_packs: u32) -> Walk {
    if ONE_ROW {
        return Walk(0u, lane);
    }
    return Walk(lane / row_packs, lane % row_packs);
}

fn walk_step(row_packs: u32) -> Walk {
    if ONE_ROW {
        return Walk(0u, LANES);
    }
    return Walk(LANES / row_packs, LANES % row_packs);
}

fn walk_on(walk: Walk, step: Walk, row_packs: u32) -> Walk {
    let pack = walk.pack + step.pack;
    if ONE_ROW {
        return Walk(0u, pack);
    }
    let wraps = u32(pack >= row_packs);
    return Walk(walk.row + step.row + wraps, pack - wraps * row_packs);
}
