use super::pipelines::Gpu;
use super::schedule::{Schedule, Wishes, schedule};
use super::strategy::{Strategy, choose};
use super::variant::Kernel;
use crate::error::{Error, Result};
use crate::plan::Plan;

/// What an application can choose when it prepares a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Forces a strategy. `None` lets [`choose`] take the best.
    pub strategy: Option<Strategy>,
    /// Whether subgroup operations are used where the device has them.
    pub subgroups: bool,
    /// Whether f16 tensors use the device's own f16 where it has it.
    pub native_f16: bool,
    /// Whether output and input will be the same buffer.
    pub in_place: bool,
    /// Bytes that the buffers' offsets are a multiple of: 16 for whole loads of four elements, or 4 for
    /// offsets anywhere.
    pub offset_alignment: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { strategy: None, subgroups: true, native_f16: true, in_place: false, offset_alignment: 16 }
    }
}

impl Options {
    /// With a forced strategy.
    #[must_use]
    pub fn strategy(mut self, strategy: impl Into<Option<Strategy>>) -> Self {
        self.strategy = strategy.into();
        self
    }

    /// With or without subgroup operations.
    #[must_use]
    pub fn subgroups(mut self, subgroups: bool) -> Self {
        self.subgroups = subgroups;
        self
    }

    /// With or without the device's own f16.
    #[must_use]
    pub fn native_f16(mut self, native_f16: bool) -> Self {
        self.native_f16 = native_f16;
        self
    }

    /// In place or into another buffer.
    #[must_use]
    pub fn in_place(mut self, in_place: bool) -> Self {
        self.in_place = in_place;
        self
    }

    /// With offsets that are a multiple of this many bytes.
    #[must_use]
    pub fn offset_alignment(mut self, bytes: u64) -> Self {
        self.offset_alignment = bytes;
        self
    }
}

/// A plan made ready for a device: [`bind`](Self::bind) gives it buffers.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub(super) gpu: Gpu,
    pub(super) plan: Plan,
    pub(super) options: Options,
    pub(super) schedule: Schedule,
    pub(super) pipelines: Vec<wgpu::ComputePipeline>,
}

impl Gpu {
    /// Chooses a strategy for a plan and compiles what it needs. Once a shape.
    ///
    /// # Errors
    ///
    /// When a forced strategy cannot serve the plan, a level of the view is longer than 2³² - 1, the
    /// alignment is no power of two from 4 on, or a kernel does not compile.
    pub fn prepare(&self, plan: &Plan, options: &Options) -> Result<Prepared> {
        let alignment = options.offset_alignment;
        if alignment < 4 || !alignment.is_power_of_two() {
            return Err(Error::Value {
                argument: "offset_alignment",
                got: alignment.to_string(),
                expected: "a power of two, at least 4".into(),
            });
        }
        let mut capabilities = self.capabilities;
        capabilities.native_f16 &= options.native_f16;
        let strategy = match options.strategy {
            Some(forced) => {
                forced.supports(plan, &capabilities)?;
                forced
            }
            None => choose(plan, &capabilities),
        };
        let wishes = Wishes { strategy, in_place: options.in_place, subgroups: options.subgroups, alignment };
        let schedule = schedule(plan, &capabilities, wishes)?;
        let pipelines =
            schedule.steps.iter().map(|step| self.pipeline(step.variant, step.constants)).collect::<Result<_>>()?;
        log::debug!("prepared {:?} as {strategy}, {} dispatches", plan.view, schedule.steps.len());
        Ok(Prepared { gpu: self.clone(), plan: plan.clone(), options: *options, schedule, pipelines })
    }
}

impl Prepared {
    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The strategy taken.
    #[must_use]
    pub fn strategy(&self) -> Strategy {
        self.schedule.strategy
    }

    /// The label of each dispatch: the kernel and its choices.
    #[must_use]
    pub fn labels(&self) -> Vec<String> {
        self.schedule.steps.iter().map(|step| step.variant.name()).collect()
    }

    /// Workgroups of each dispatch.
    #[must_use]
    pub fn workgroups(&self) -> Vec<[u32; 2]> {
        self.schedule.steps.iter().map(|step| step.workgroups).collect()
    }

    /// Bytes of the tensor that a recording reads and writes; parameters and partial moments, which are
    /// small beside it, left out.
    #[must_use]
    pub fn bytes_moved(&self) -> u64 {
        let size = self.plan.dtype.size() as u64;
        let passes = |kernel| match kernel {
            Kernel::Resident | Kernel::Affine | Kernel::AffineFlat => 2,
            Kernel::Streaming => 3,
            Kernel::Split | Kernel::Column => 1,
            Kernel::Merge | Kernel::Given | Kernel::Running | Kernel::Counter => 0,
        };
        self.schedule.steps.iter().map(|step| passes(step.variant.kernel) * step.elements * size).sum()
    }

    /// Bytes of scratch that [`bind`](Self::bind) allocates and [`Bound`](super::Bound) owns.
    #[must_use]
    pub fn scratch_size(&self) -> u64 {
        self.schedule.statistics_bytes + self.schedule.partials_bytes
    }
}
