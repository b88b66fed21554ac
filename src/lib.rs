//! Every normalization of deep learning on any GPU that wgpu reaches: Layer-, RMS-, Group-, Instance- and BatchNorm
//! with PyTorch's semantics, and those that PyTorch has not: Switchable, Positional, Batch Group, Conditional, Sandwich
//! and Filter Response normalization. Forward and backward, recorded into *your* command encoder, with a fast CPU
//! backend where there is no GPU and an f64 reference that says what is right.
//!
//! # Example: normalize a tensor, wherever that goes best
//!
//! ```
//! use wgpu_norm::norm::LayerNorm;
//! use wgpu_norm::{Engine, Parameters, Tensor};
//!
//! let engine = Engine::new()?; // the best GPU, or the CPU
//! println!("{}", engine.description());
//!
//! let input = Tensor::from_f32([2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 9.0])?;
//! let weight = Tensor::from_f32([3], vec![2.0, 2.0, 2.0])?;
//! let mut parameters = Parameters { weight: Some(&weight), ..Parameters::default() };
//! let output = engine.forward(&LayerNorm::new([3]), &input, &mut parameters)?;
//! assert!((output.data().to_f32()[1]).abs() < 1e-6); // the middle of 1, 2, 3
//! # Ok::<(), wgpu_norm::Error>(())
//! ```
//!
//! # Example: record a norm into your own encoder
//!
//! The application owns the device, the buffers and the encoder; the engine records into them and submits
//! nothing. `prepare` once a shape, `bind` once a set of buffers, `record` as often as you like.
//!
//! ```no_run
//! # fn frame(device: &wgpu::Device, encoder: &mut wgpu::CommandEncoder, activations: &wgpu::Buffer, hidden: &wgpu::Buffer) -> wgpu_norm::Result<()> {
//! use wgpu_norm::gpu::{Buffers, Gpu, Options};
//! use wgpu_norm::norm::{LayerNorm, Norm, Operands};
//! use wgpu_norm::{Dtype, Spec};
//!
//! let gpu = Gpu::new(device);
//! let plan = LayerNorm::new([384]).lower(&Operands::new(Spec::new([128, 384], Dtype::F32)))?;
//! let prepared = gpu.prepare(&plan, &Options::default())?;
//! let bound = prepared.bind(&Buffers::new(activations.slice(..), hidden.slice(..)))?;
//! bound.record_pass(encoder);
//! # Ok(())
//! # }
//! ```
//!
//! # Example: a layer that trains
//!
//! A [`layer`] owns parameters and running estimates, where its engine computes, in PyTorch's names and with its rules.
//!
//! ```
//! use wgpu_norm::layer::{BatchNorm1d, Layer};
//! use wgpu_norm::{Engine, Tensor};
//!
//! let mut norm = Layer::new(&Engine::new()?, BatchNorm1d::new(2))?;
//! let x = Tensor::from_f32([4, 2], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])?;
//! let forward = norm.forward_saving(&x)?;
//! assert!((norm.get("running_mean")?.data().to_f32()[0] - 0.3).abs() < 1e-6); // a tenth of the way to 3
//!
//! let gradients = norm.backward(&x, &x, &forward, None)?; // as if the output's gradient were x
//! assert_eq!(gradients.bias.expect("there is a bias").data().to_f32(), [12.0, 16.0]);
//! # Ok::<(), wgpu_norm::Error>(())
//! ```
//!
//! Without a layer, [`Engine::forward_saving`] and [`Engine::backward`] do the same for parameters that you hold;
//! [`gpu::Gpu::prepare_backward`] records it into your own encoder.
//!
//! # Why not a composition of operations
//!
//! A norm is bound by memory. As mean, subtract, square, mean, scale and shift it moves the tensor five times
//! or more; here it is read once and written once wherever a group fits the registers of a team of lanes,
//! and read twice otherwise. [`Prepared::bytes_moved`](gpu::Prepared::bytes_moved) says what a prepared norm moves.
//!
//! # Numerics
//!
//! - Storage is f32, f16 or bf16; arithmetic is f32 whatever the storage. No adapter feature is needed for
//!   any of them. Results are rounded to the nearest value of the storage type.
//! - Moments are two-pass on registers, or Welford's and Chan's; never `E[x²] - E[x]²`. The mean is carried as
//!   one of the group's elements and the mean of the differences to it, so a common offset costs no digits.
//! - The same input on the same adapter gives the same bits, every time; and a sample the same bits whatever
//!   else is in the batch, however large it is and wherever it stands in it.
//! - A NaN or an infinity poisons the statistics that it belongs to and nothing else. WGSL does not promise
//!   that NaN survives; the tests hold each adapter to it, and [`Engine::arithmetic`] says what one does with NaN,
//!   infinities, subnormal numbers and products that go into sums.
//!
//! # In a browser
//!
//! The crate builds for `wasm32-unknown-unknown`, on WebGPU and on the CPU. Functions that block are not there; each has
//! a twin in `_async`. A browser's device says late what it refuses: [`gpu::Gpu::settled`] waits for that.
//!
//! # Crate features
//!
//! - `backends` (default): wgpu's Vulkan, GL, Metal, DX12 and WebGPU backends. Turn it off where the application
//!   chooses them through its own dependency on wgpu.
//! - `mpi`: groups of processes that MPI started, for synchronized batch normalization; takes an installed MPI and libclang.
//! - `checkpoint`: the module `checkpoint`, layers' state dicts as `.safetensors` files.
//! - `cli`: the program `wgpu-norm` and the readers of `.npy` and `.safetensors` that it needs.
//!
//! wgpu is re-exported as [`wgpu`]; one major version of it belongs to one minor version of this crate. So is `half` as [`half`],
//! whose types [`Data`] holds.

#![cfg_attr(
    target_family = "wasm",
    allow(clippy::arc_with_non_send_sync, reason = "a browser's devices stay on their thread, native ones do not")
)]

#[cfg(feature = "checkpoint")]
pub mod checkpoint;
pub mod collective;
mod cpu;
pub mod engine;
mod error;
pub mod gpu;
pub mod layer;
pub mod norm;
pub mod plan;
pub mod reference;
mod setters;
mod tensor;

pub use engine::{Choice, Engine, Forward, Gradients, Parameters, Upstream};
pub use error::{Error, Result};
pub use half;
pub use plan::{RunningStatistics, Statistics, Wanted};
pub use tensor::{Data, Dtype, Layout, Spec, Tensor};
pub use wgpu;

/// The examples of the README, which are compiled with the tests of the documentation.
#[cfg(all(doctest, feature = "checkpoint"))]
#[doc = include_str!("../README.md")]
struct Readme;
