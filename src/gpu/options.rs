use super::planner::Wishes;
use super::strategy::Strategy;
use crate::error::{Error, Result};
use crate::setters::setters;

/// What an application can choose when it prepares a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Forces a strategy. `None` lets [`choose`](super::choose) take the best.
    pub strategy: Option<Strategy>,
    /// Whether subgroup operations are used where the device has them.
    pub subgroups: bool,
    /// Whether f16 tensors use the device's own f16 where it has it and is the faster by it.
    pub native_f16: bool,
    /// Whether output and input will be the same buffer; in backward, their gradients.
    pub in_place: bool,
    /// Bytes that the offsets of tensors, of what is learned and of means and deviations are a multiple of: 16 for whole
    /// loads of four elements, or 4. Other buffers' offsets are as [`Buffers`](super::Buffers) says, whatever this is.
    pub offset_alignment: u64,
    /// Whether a forward pass keeps its statistics in a buffer of the application's, for backward.
    pub save_statistics: bool,
    /// Whether the sum of input and residual takes the residual's place; of a backward pass it says nothing.
    pub sum_in_place: bool,
    /// Whether a backward pass is handed a gradient that reaches the sum of input and residual by other ways.
    pub grad_sum: bool,
    /// Whether everything is done, or one of the halves between which statistics can be exchanged with other devices.
    pub part: Part,
    /// Whether a forward pass writes mean and deviation of each group, in the tensor's type, for which it has to keep its
    /// statistics too; in backward, whether gradients flow into them.
    pub moments: bool,
}

/// Which half of a pass. Between the halves an application can replace what the first one found by what it found
/// together with others: statistics forward, sums backward. An engine that is handed a
/// [group](crate::collective::Group) does this by itself; this is for applications that record into their own encoder.
///
/// ```no_run
/// # fn halves(device: &wgpu::Device, plan: &wgpu_norm::plan::Plan, x: &wgpu::Buffer, y: &wgpu::Buffer, kept: &wgpu::Buffer, submit: impl Fn(wgpu::CommandBuffer)) -> wgpu_norm::Result<()> {
/// use wgpu_norm::gpu::{Buffers, Gpu, Options, Part};
///
/// let gpu = Gpu::new(device);
/// let reduce = gpu.prepare(plan, &Options::default().part(Part::Reduce))?;
/// let apply = gpu.prepare(plan, &Options::default().part(Part::Apply))?;
/// let reduce = reduce.bind(&Buffers::reduce(x.slice(..), kept.slice(..)))?;
/// let apply = apply.bind(&Buffers::new(x.slice(..), y.slice(..)).statistics(kept.slice(..)))?;
///
/// let mut encoder = device.create_command_encoder(&Default::default());
/// reduce.record_pass(&mut encoder);
/// submit(encoder.finish());
/// // Here the application reads `kept`, merges it with what others have, and writes all parts' statistics there.
/// let mut encoder = device.create_command_encoder(&Default::default());
/// apply.record_pass(&mut encoder);
/// submit(encoder.finish());
/// # Ok(())
/// # }
/// ```
///
/// With nothing exchanged both halves together have the bits of the whole pass by the same strategy. The first half
/// divides by its own counts: sums that all parts' elements share have to come scaled by `own count / count of all`.
/// Halves leave running estimates alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Part {
    /// Everything, in as few passes over memory as there can be.
    #[default]
    Whole,
    /// Forward, the statistics of the input, and where there is a residual its sum with that. Backward, the sums over
    /// groups, and the gradients of weight and bias.
    Reduce,
    /// What is left: forward, the output from the statistics (and from the sum, as the input, where there was a
    /// residual); backward, the input's gradient from the sums.
    Apply,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            strategy: None,
            subgroups: true,
            native_f16: true,
            in_place: false,
            offset_alignment: 16,
            save_statistics: false,
            sum_in_place: false,
            grad_sum: false,
            part: Part::Whole,
            moments: false,
        }
    }
}

impl Options {
    setters! {
        /// With a forced strategy.
        strategy(strategy: impl Into<Option<Strategy>>) sets strategy to strategy.into();
        /// With or without subgroup operations.
        subgroups(subgroups: bool) sets subgroups to subgroups;
        /// With or without the device's own f16.
        native_f16(native_f16: bool) sets native_f16 to native_f16;
        /// In place or into another buffer.
        in_place(in_place: bool) sets in_place to in_place;
        /// With offsets that are a multiple of this many bytes.
        offset_alignment(bytes: u64) sets offset_alignment to bytes;
        /// With or without the statistics kept for backward.
        save_statistics(save_statistics: bool) sets save_statistics to save_statistics;
        /// With the sum of input and residual in the residual's place or elsewhere.
        sum_in_place(sum_in_place: bool) sets sum_in_place to sum_in_place;
        /// With or without mean and deviation as outputs; in backward, with gradients that flow into them.
        moments(moments: bool) sets moments to moments;
        /// The whole, or one half.
        part(part: Part) sets part to part;
        /// With or without a gradient of the sum from elsewhere.
        grad_sum(grad_sum: bool) sets grad_sum to grad_sum;
    }

    /// What the schedule is made with, where `strategy` is what was chosen; for `beside` see [`Wishes::beside`].
    pub(super) fn wishes(&self, strategy: Strategy, beside: bool) -> Result<Wishes> {
        let alignment = self.offset_alignment;
        if alignment < 4 || !alignment.is_power_of_two() {
            return Err(Error::Value {
                argument: "offset_alignment",
                got: alignment.to_string(),
                expected: "a power of two, at least 4".into(),
            });
        }
        Ok(Wishes {
            strategy,
            in_place: self.in_place,
            subgroups: self.subgroups,
            alignment,
            saves: self.save_statistics || self.part != Part::Whole,
            part: self.part,
            sum_in_place: self.sum_in_place,
            inflow: self.grad_sum,
            moments: self.moments,
            beside,
        })
    }
}
