//! Numbers that look drawn.

/// The same below 4096 for a number every time, and without the rhythm in which choices alternate.
pub(crate) fn drawn(number: usize) -> usize {
    (number.wrapping_mul(0x9E37_79B1) >> 16) % 4096
}

/// Whether a lot is one that is drawn, one in so many. What is compiled for the first time takes most of a test's time, and
/// what is compiled grows with the product of all choices.
pub(crate) fn is_drawn(lot: usize, one_in: usize) -> bool {
    lot.is_multiple_of(one_in) || all_are_drawn()
}

/// With `WGPU_NORM_TEST_SHARE=all`.
pub(crate) fn all_are_drawn() -> bool {
    std::env::var("WGPU_NORM_TEST_SHARE").is_ok_and(|share| share == "all")
}
