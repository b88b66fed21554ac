//! PyTorch's state dicts as `.safetensors` files.
//!
//! ```
//! use wgpu_norm::checkpoint::{self, Checkpoint};
//! use wgpu_norm::Engine;
//! use wgpu_norm::layer::{BatchNorm2d, Layer};
//!
//! let engine = Engine::new()?;
//! let folder = tempfile::tempdir().expect("a folder");
//! let path = folder.path().join("model.safetensors");
//!
//! let trained = Layer::new(&engine, BatchNorm2d::new(64))?;
//! checkpoint::save(&path, &trained.state_dict("layer1.0.bn1.")?)?;
//!
//! let model = Checkpoint::open(&path)?;
//! let mut layer = Layer::new(&engine, BatchNorm2d::new(64))?;
//! model.load(&mut layer, "layer1.0.bn1.", true)?;
//! # Ok::<(), wgpu_norm::Error>(())
//! ```

mod bytes;
mod reader;
#[cfg(not(target_family = "wasm"))]
mod writer;

pub use bytes::to_bytes;
pub use reader::Checkpoint;
#[cfg(not(target_family = "wasm"))]
#[doc(hidden)]
pub use reader::map;
#[cfg(not(target_family = "wasm"))]
pub use writer::save;
#[cfg(not(target_family = "wasm"))]
#[doc(hidden)]
pub use writer::{replace, replace_if};
