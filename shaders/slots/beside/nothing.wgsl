// Nothing is written beside sums.
struct Beside {
    nothing: u32,
}

fn beside(statistic: u32) -> Beside {
    return Beside();
}

fn write_beside(here: Beside, index: u32, groups: u32, valid: u32, terms: Terms, four: Four, parameters: Parameters) {}
