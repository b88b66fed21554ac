use super::backward::backward;
use super::pipelines::Gpu;
use super::planner::{Schedule, Step, Wishes};
use super::schedule::schedule;
use super::slots::{Inflow, Kernel, Residual};
use super::strategy::{Capabilities, Strategy, choose, choose_backward};
use crate::error::{Error, Result};
use crate::plan::{Plan, Wanted, obstacle_to_inflow};

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
    /// Whether output and input will be the same buffer; in backward, their gradients.
    pub in_place: bool,
    /// Bytes that the buffers' offsets are a multiple of: 16 for whole loads of four elements, or 4 for
    /// offsets anywhere.
    pub offset_alignment: u64,
    /// Whether a forward pass keeps its statistics in a buffer of the application's, for backward.
    pub save_statistics: bool,
    /// Whether the sum of input and residual takes the residual's place.
    pub sum_in_place: bool,
    /// Whether a backward pass is handed a gradient that reaches the sum of input and residual by other ways.
    pub grad_sum: bool,
    /// Whether a forward pass writes mean and deviation of each group, in the tensor's type; in backward, whether
    /// gradients flow into them.
    pub moments: bool,
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
            moments: false,
        }
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

impl Options {
    /// With or without the statistics kept for backward.
    #[must_use]
    pub fn save_statistics(mut self, save_statistics: bool) -> Self {
        self.save_statistics = save_statistics;
        self
    }

    /// With the sum of input and residual in the residual's place or elsewhere.
    #[must_use]
    pub fn sum_in_place(mut self, sum_in_place: bool) -> Self {
        self.sum_in_place = sum_in_place;
        self
    }

    /// With or without mean and deviation as outputs; in backward, with gradients that flow into them.
    #[must_use]
    pub fn moments(mut self, moments: bool) -> Self {
        self.moments = moments;
        self
    }

    /// With or without a gradient of the sum from elsewhere.
    #[must_use]
    pub fn grad_sum(mut self, grad_sum: bool) -> Self {
        self.grad_sum = grad_sum;
        self
    }
}

/// Which way a prepared plan runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    Forward,
    Backward(Wanted),
}

/// The strategy where gradients flow into means and deviations, which the resident kernel does not know.
fn with_moments(plan: &Plan, strategy: Strategy, forced: Option<Strategy>) -> Result<Strategy> {
    if let Some(reason) = obstacle_to_inflow(plan, false) {
        return Err(Error::Unexpected { argument: "moments", reason });
    }
    match (strategy, forced) {
        (Strategy::Resident, Some(_)) => {
            let reason = "gradients flow into means and deviations, which come in between".into();
            Err(Error::Strategy { strategy: strategy.name(), reason })
        }
        (Strategy::Resident, None) => Ok(Strategy::Split),
        _ => Ok(strategy),
    }
}

/// A plan made ready for a device: [`bind`](Self::bind) gives it buffers.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub(super) gpu: Gpu,
    pub(super) plan: Plan,
    pub(super) pass: Pass,
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
        let capabilities = self.capabilities_under(options);
        let strategy = match options.strategy {
            Some(forced) => forced.supports(plan, &capabilities).map(|()| forced)?,
            None => choose(plan, &capabilities),
        };
        if options.grad_sum {
            let reason = "a forward pass has no gradients";
            return Err(Error::Unexpected { argument: "grad_sum", reason });
        }
        if options.sum_in_place && !plan.residual {
            let reason = "the plan was lowered without a residual";
            return Err(Error::Unexpected { argument: "sum_in_place", reason });
        }
        if options.moments && !options.save_statistics {
            let reason = "mean and deviation are made of the statistics, and the plan is prepared without those";
            return Err(Error::Unexpected { argument: "moments", reason });
        }
        let schedule = schedule(plan, &capabilities, options.wishes(strategy)?)?;
        self.compiled(plan, Pass::Forward, options, schedule)
    }

    /// As [`prepare`](Self::prepare), for the backward pass: the gradients that are wanted, from what a forward pass
    /// prepared with [`save_statistics`](Options::save_statistics) kept.
    ///
    /// ```no_run
    /// # fn step(device: &wgpu::Device, plan: &wgpu_norm::plan::Plan, pass: &mut wgpu::ComputePass, x: &wgpu::Buffer, y: &wgpu::Buffer, dy: &wgpu::Buffer, dx: &wgpu::Buffer, kept: &wgpu::Buffer) -> wgpu_norm::Result<()> {
    /// use wgpu_norm::Wanted;
    /// use wgpu_norm::gpu::{Buffers, Gpu, Options};
    ///
    /// let gpu = Gpu::new(device);
    /// let forward = gpu.prepare(plan, &Options::default().save_statistics(true))?;
    /// let backward = gpu.prepare_backward(plan, Wanted::all(plan), &Options::default())?;
    /// let forward = forward.bind(&Buffers::new(x.slice(..), y.slice(..)).statistics(kept.slice(..)))?;
    /// let buffers = Buffers::backward(x.slice(..), dy.slice(..), kept.slice(..)).grad_input(dx.slice(..));
    /// let backward = backward.bind(&buffers)?;
    /// forward.record(pass);
    /// backward.record(pass);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare); and when the gradient of a parameter is wanted that the plan has not.
    pub fn prepare_backward(&self, plan: &Plan, wanted: Wanted, options: &Options) -> Result<Prepared> {
        wanted.check(plan)?;
        let capabilities = self.capabilities_under(options);
        let strategy = match options.strategy {
            Some(forced) => forced.supports_backward(plan, wanted, &capabilities).map(|()| forced)?,
            None => choose_backward(plan, wanted, &capabilities),
        };
        let strategy = if options.moments { with_moments(plan, strategy, options.strategy)? } else { strategy };
        if options.grad_sum && !plan.residual {
            let reason = "the plan was lowered without a residual";
            return Err(Error::Unexpected { argument: "grad_sum", reason });
        }
        let schedule = backward(plan, wanted, &capabilities, options.wishes(strategy)?)?;
        self.compiled(plan, Pass::Backward(wanted), options, schedule)
    }

    fn capabilities_under(&self, options: &Options) -> Capabilities {
        Capabilities { native_f16: self.capabilities.native_f16 && options.native_f16, ..self.capabilities }
    }

    fn compiled(&self, plan: &Plan, pass: Pass, options: &Options, schedule: Schedule) -> Result<Prepared> {
        let pipelines =
            schedule.steps.iter().map(|step| self.pipeline(step.variant, step.constants)).collect::<Result<_>>()?;
        log::debug!("prepared {:?} as {}, {} dispatches", plan.view, schedule.strategy, schedule.steps.len());
        Ok(Prepared { gpu: self.clone(), plan: plan.clone(), pass, options: *options, schedule, pipelines })
    }
}

impl Options {
    fn wishes(&self, strategy: Strategy) -> Result<Wishes> {
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
            saves: self.save_statistics,
            sum_in_place: self.sum_in_place,
            inflow: self.grad_sum,
            moments: self.moments,
        })
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
        self.schedule
            .steps
            .iter()
            .map(|step| step.passes(self.plan.epilogue.activation.is_some()) * step.elements * size)
            .sum()
    }

    /// Bytes of scratch that [`bind`](Self::bind) allocates and [`Bound`](super::Bound) owns.
    #[must_use]
    pub fn scratch_size(&self) -> u64 {
        self.schedule.statistics_bytes + self.schedule.pools.iter().sum::<u64>()
    }
}

impl Step {
    /// How often the dispatch reads or writes each element that it touches. Where the statistics are given,
    /// backward needs what was normalized for an activation's slope alone.
    fn passes(&self, active: bool) -> u64 {
        let residual = if self.variant.residual.is_some_and(|r| r != Residual::None) { 2 } else { 0 };
        let inflow = u64::from(self.variant.inflow == Some(Inflow::Added));
        let x = u64::from(active || self.constants.given.is_none());
        match self.variant.kernel {
            Kernel::Resident | Kernel::Affine | Kernel::AffineFlat => 2 + residual,
            Kernel::Streaming | Kernel::Add => 3,
            Kernel::Split | Kernel::Column => 1,
            Kernel::ResidentGradient => 3 + inflow,
            Kernel::Sums | Kernel::ColumnSums => 2,
            Kernel::Gradient | Kernel::GradientFlat => 2 + x + inflow,
            Kernel::Merge
            | Kernel::Given
            | Kernel::Running
            | Kernel::Counter
            | Kernel::Collect
            | Kernel::Nothing
            | Kernel::Average
            | Kernel::Mix
            | Kernel::Prepare
            | Kernel::Publish
            | Kernel::UnmixSums
            | Kernel::Unmix
            | Kernel::MomentsInflow => 0,
        }
    }
}
