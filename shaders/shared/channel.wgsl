// The channel that a statistic belongs to: c divides `channels`.
fn channel_of(i_a: u32, i_c: u32) -> u32 {
    return i_a * task.levels.z % task.channels + i_c;
}
