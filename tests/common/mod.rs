//! What several test programs share: conformance cases, read and compared without a line of `src/cli`.
//!
//! `tests/conformance.rs` runs the cases through the program, whose reader, attributes and comparison
//! are then on both sides of the check. Here all three are written a second time, from the cases' README.

pub(crate) mod attributes;
pub(crate) mod case;
