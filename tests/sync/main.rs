//! One batch over many ranks: what local groups give on every engine, mixed ones too, and how they fail.

mod failures;
mod layers;
mod passes;
mod rig;
