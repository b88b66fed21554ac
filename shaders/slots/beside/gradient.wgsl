// The input's gradient is written beside sums over rows, each of which is a group whose own sums are at hand.
struct Beside {
    // That of the lane's first row.
    group: u32,
    divisors: vec2<f32>,
}

fn beside(statistic: u32) -> Beside {
    return Beside(statistic - task.statistics_shift, divisors());
}

fn write_beside(here: Beside, index: u32, groups: u32, valid: u32, terms: Terms, four: Four, parameters: Parameters) {
    let sums = group_sums[here.group + groups];
    let through = through_pair(divided(sums.x, sums.y, here.divisors));
    store(index, gradient_of(terms, four, through, parameters), valid);
}
