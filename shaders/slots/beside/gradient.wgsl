// The input's gradient is written beside sums over rows, each of which is a group whose own sums are at hand.
struct Beside {
    // That of the lane's first row, and what leads to the next.
    group: u32,
    groups: u32,
    divisors: vec2<f32>,
    output_shift: u32,
}

fn beside(statistic: u32) -> Beside {
    return Beside(statistic - task.statistics_shift, statistic_row(1u), divisors(), task.output_shift);
}

fn write_beside(here: Beside, index: u32, row: u32, valid: u32, terms: Terms, four: Four, parameters: Parameters) {
    let sums = group_sums[here.group + row * here.groups];
    let through = through_pair(divided(sums.x, sums.y, here.divisors));
    store(index + here.output_shift, gradient_of(terms, four, through, parameters), valid);
}
