// Which statistic belongs to an element of a view that is not that of the groups.

fn statistic_base(i_a: u32, i_b: u32) -> u32 {
    let a = i_a / task.statistic_a_divisor % task.statistic_a_modulus;
    return a * task.statistic_a_scale + statistic_row(i_b) + task.statistics_shift;
}

// What a row of b adds.
fn statistic_row(i_b: u32) -> u32 {
    return i_b * task.statistic_b_scale;
}

// What one of c adds.
fn statistic_column(i_c: u32) -> u32 {
    return i_c / task.statistic_c_divisor * task.statistic_c_scale;
}

// What an element of a row adds.
fn statistic_place(i_d: u32) -> u32 {
    return i_d * task.statistic_d_scale;
}
