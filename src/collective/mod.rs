//! Statistics that several devices, processes or machines share: what
//! [`SyncBatchNorm`](crate::norm::SyncBatchNorm) needs beside the kernels.
//!
//! A [`Group`] is one rank's handle on a [`ProcessGroup`]. Two come with the crate: [`local`], for devices and threads
//! of one process, and `mpi_world` (feature `mpi`), for processes on any number of machines. Everything else
//! that can gather a few numbers becomes one by implementing the trait.
//!
//! # Example: two threads, one batch
//!
//! ```
//! use wgpu_norm::collective::local;
//! use wgpu_norm::norm::SyncBatchNorm;
//! use wgpu_norm::{Choice, Engine, Parameters, Tensor};
//!
//! let rank = &|group: &wgpu_norm::collective::Group, shard: Vec<f32>| {
//!     let engine = pollster::block_on(Engine::open(&Choice::Cpu))?;
//!     let input = Tensor::from_f32([shard.len(), 1], shard)?;
//!     let mut parameters = Parameters { group: Some(group), ..Parameters::default() };
//!     engine.forward(&SyncBatchNorm::new(), &input, &mut parameters)
//! };
//! let groups = local(2).into_iter(); // each rank takes its own handle along, and is missed where it ends
//! let outputs = std::thread::scope(|scope| {
//!     let shards = [vec![1.0, 2.0, 3.0], vec![6.0]]; // the mean of all is 3
//!     let ranks = groups.zip(shards).map(|(group, shard)| scope.spawn(move || rank(&group, shard)));
//!     ranks.collect::<Vec<_>>().into_iter().map(|rank| rank.join().expect("no rank panics")).collect::<Result<Vec<_>, _>>()
//! })?;
//! assert!(outputs[0].data().to_f32()[2].abs() < 1e-6);
//! # Ok::<(), wgpu_norm::Error>(())
//! ```
//!
//! # What crosses
//!
//! Never a tensor. A forward pass in training gathers `2 C + 1` numbers a rank (means, centred sums and the count), a
//! backward pass `2 C + 1` (two sums a channel and the count), each as f64 and with a header of eight numbers that says
//! what it is, so that ranks that do different things find out. In evaluation, and in a group of one, nothing crosses.
//!
//! Every rank merges what it gathered in the order of the ranks, in f64 by Chan's formula. So all have the same
//! statistics and the same running estimates to the bit, whatever executes them, and timing changes nothing.
//!
//! On a GPU the statistics make a round trip: 16 bytes a channel come back in one submission, and go up again with the one
//! that normalizes; in backward 8 bytes a channel come back and go up. Running estimates are moved on the host. The tensor
//! stays where it is and is uploaded once.
//!
//! # When a rank fails
//!
//! In a [`local`] group a rank whose handles are dropped, because its thread ended or panicked, is missed at once, and
//! one that does not arrive after the timeout: the others get an error that names the operation and the rank, now and
//! for every later call. A rank whose pass ends by an error of its own before it met the others (a shape that does not fit,
//! a device without memory) tells them, and all get an error; the group goes on. Under MPI its own error handler decides, which ends the job.

mod exchange;
mod group;
#[cfg(not(target_family = "wasm"))]
mod local;
#[cfg(feature = "mpi")]
mod mpi_group;

pub(crate) use exchange::{Pass, Turn, ended};
pub use group::{Group, ProcessGroup};
#[cfg(not(target_family = "wasm"))]
pub use local::{TIMEOUT, local, local_with_timeout};
#[cfg(feature = "mpi")]
pub use mpi;
#[cfg(feature = "mpi")]
pub use mpi_group::{mpi_communicator, mpi_world};
