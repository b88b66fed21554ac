//! State dicts as files: what PyTorch saved loads and computes the same, what is saved has PyTorch's keys, shapes and
//! types, and what does not fit is refused. `make.py` beside this file made `torch.safetensors`.
#![cfg(feature = "checkpoint")]

mod files;
mod refusals;
#[allow(dead_code, reason = "the tests of layers use the rest")]
#[path = "../layers/rig.rs"]
mod rig;
mod torch;
