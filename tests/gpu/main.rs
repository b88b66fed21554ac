//! The GPU backend on every adapter of this machine.

mod arena;
mod blocks;
#[path = "../common/draw.rs"]
mod draw;
mod drawn;
mod family;
mod gradient_bits;
mod gradient_sample;
mod gradients;
mod halves;
mod held;
mod invariance;
mod joined;
mod large;
mod long_rows;
mod mixed_types;
mod numerics;
mod pipeline_cache;
mod properties;
mod recording;
mod refusals;
mod rig;
mod sample;
mod strategies;
mod tally;
