//! Shapes, storage types, layouts, and a tensor in host memory.

mod dtype;
mod host;
mod layout;
mod shape;

pub use dtype::Dtype;
pub use host::{Data, Tensor};
pub(crate) use layout::Axes;
pub use layout::Layout;
pub use shape::Spec;
pub(crate) use shape::{count, product};
