// What a lane keeps of each of KEPT things, whatever a kernel calls Kept.
alias KeptOfAll = array<Kept, KEPT>;

// Which of them is compared with numbers that a compiler knows: it writes the loop out, and what is kept are registers.
// For an index that it does not know software adapters have code for every lane, and compile three times as long.
fn keep(all: ptr<function, KeptOfAll>, which: u32, own: Kept) {
    if KEPT == 1u {
        (*all)[0] = own;
        return;
    }
    for (var k = 0u; k < KEPT; k++) {
        if k == which {
            (*all)[k] = own;
        }
    }
}

fn kept_of(all: ptr<function, KeptOfAll>, which: u32) -> Kept {
    var found = (*all)[0];
    for (var k = 1u; k < KEPT; k++) {
        if k == which {
            found = (*all)[k];
        }
    }
    return found;
}
