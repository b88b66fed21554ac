//! Numbers that look drawn.

/// The same below 4096 for a number every time, and without the rhythm in which choices alternate.
pub(crate) fn drawn(number: usize) -> usize {
    (number.wrapping_mul(0x9E37_79B1) >> 16) % 4096
}
