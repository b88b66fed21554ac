//! The GPU backend on every adapter of this machine.

mod invariance;
mod large;
mod numerics;
mod properties;
mod recording;
mod refusals;
mod rig;
mod sample;
mod strategies;
