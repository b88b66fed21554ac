//! Normalizations of deep learning on wgpu.
mod cpu;
pub mod engine;
mod error;
pub mod gpu;
pub mod norm;
pub mod plan;
pub mod reference;
mod tensor;

pub use engine::{Choice, Engine, Parameters};
pub use error::{Error, Result};
pub use plan::RunningStatistics;
pub use tensor::{Data, Dtype, Layout, Spec, Tensor};
pub use wgpu;
