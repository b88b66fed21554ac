//! Executes plans on a wgpu device: the application's own, into its own encoder.
//!
//! Three steps, because buffers change more often than shapes, and recordings more often than buffers:
//!
//! 1. [`Gpu::prepare`] once a shape: strategy, pipelines, the list of dispatches.
//! 2. [`Prepared::bind`] once a set of buffers: checks them before wgpu can, makes the bind groups.
//! 3. [`Bound::record`] any number of times: needs no queue, allocates nothing, cannot fail.
//!
//! Files that know a device are listed in CONTRIBUTING.md; all others are pure.

mod backward;
mod bind;
mod bindings;
mod boxes;
mod buffers;
mod capabilities;
mod choices;
mod device;
mod expected;
mod held;
mod host_tensors;
mod link;
pub(crate) mod mixed;
mod options;
mod parameters;
mod partials;
mod pipelines;
mod planner;
mod prepare;
pub(crate) mod probe;
pub(crate) mod readback;
mod record;
mod role;
mod schedule;
mod scope;
mod slots;
mod small_steps;
mod stored;
mod strategy;
mod sums;
pub(crate) mod synchronized;
mod uniforms;
mod uploads;
mod variant;
mod whole_groups;
mod whole_groups_backward;
mod writing;

pub use bind::Bound;
pub use buffers::Buffers;
pub use capabilities::Capabilities;
pub use device::{MOST_STORAGE_BUFFERS, optional_features, recommended_limits, required_features};
pub(crate) use held::Held;
pub use options::{Options, Part};
pub use pipelines::Gpu;
pub use prepare::Prepared;
pub use strategy::{Strategy, choose, choose_backward};

/// The kernels themselves, for those who compile or test them elsewhere: every [`Variant`](kernels::Variant) that there is,
/// [`link`](kernels::link)ed from its files to WGSL, and how a plan is cut for them. An application that normalizes needs none
/// of it.
pub mod kernels {
    pub use super::link::{Linked, Target, link};
    pub use super::partials::{Columns, Partials};
    pub use super::slots::{
        AffineSlot, Beside, Collected, Element, Epsilon, File, Inflow, Kernel, Known, Lanes, Moment, MomentumSlot,
        Parameter, Picking, Placement, Published, Registers, Residual, Saved, Terms, Tracked,
    };
    pub use super::strategy::{MOST_ITERATIONS, packs, streamed_together};
    pub use super::uniforms::Task;
    pub use super::variant::Variant;
}
