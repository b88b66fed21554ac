//! Layers: PyTorch's defaults, modes, rules of input, state, and what they refuse, on every engine that is here.

mod family;
mod members;
mod options;
mod passes;
mod rig;
mod state;
