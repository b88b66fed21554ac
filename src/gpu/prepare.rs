use super::backward::backward;
use super::capabilities::Capabilities;
use super::device::MOST_STORAGE_BUFFERS;
use super::options::{Options, Part};
use super::pipelines::Gpu;
use super::planner::{Schedule, Step};
use super::schedule::schedule;
use super::slots::{Beside, Inflow, Kernel, Residual};
use super::strategy::{self, Strategy, choose, choose_backward, packs};
use crate::error::{Error, Result};
use crate::plan::{Plan, Source, Wanted, obstacle_to_inflow};

/// Which way a prepared plan runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    Forward,
    Backward(Wanted),
}

/// The strategy where gradients flow into means and deviations, which the resident kernel does not know.
fn with_moments(plan: &Plan, strategy: Strategy, forced: Option<Strategy>, device: &Capabilities) -> Result<Strategy> {
    if let Some(reason) = obstacle_to_inflow(plan, false) {
        return Err(Error::Unexpected { argument: "moments", reason });
    }
    in_steps(plan, strategy, forced, device, "gradients flow into means and deviations, which come in between")
}

/// The strategy of one half of a pass.
fn in_part(plan: &Plan, strategy: Strategy, options: &Options, device: &Capabilities) -> Result<Strategy> {
    if options.part == Part::Whole {
        return plan.check_alone().map(|()| strategy);
    }
    if !matches!(plan.source, Source::Input { .. }) {
        let reason = "statistics come in halves only where they are the input's own";
        return Err(Error::Unexpected { argument: "part", reason });
    }
    if plan.derivation.is_some() {
        let reason = "parameters that are made ready first are so for whole passes alone";
        return Err(Error::Unexpected { argument: "part", reason });
    }
    if options.moments {
        let reason = "means and deviations are no part of one half of a pass";
        return Err(Error::Unexpected { argument: "moments", reason });
    }
    let reason = "one half of a pass ends or begins at the statistics";
    let strategy = in_steps(plan, strategy, options.strategy, device, reason)?;
    Ok(if options.part == Part::Apply { Strategy::Affine } else { strategy })
}

/// A strategy that does not do everything in one kernel.
fn in_steps(
    plan: &Plan,
    strategy: Strategy,
    forced: Option<Strategy>,
    device: &Capabilities,
    reason: &str,
) -> Result<Strategy> {
    match (strategy, forced) {
        (Strategy::Resident | Strategy::Streaming, Some(_)) => {
            Err(Error::Strategy { strategy: strategy.name(), reason: reason.into() })
        }
        (Strategy::Resident | Strategy::Streaming, None) => Ok(strategy::in_steps(plan, device)),
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
    /// - A forced strategy cannot serve the plan; a level of the view, or what lies side by side in it, is longer than
    ///   2³² - 2¹⁶; the alignment is no power of two from 4 on.
    /// - An option has no place: [`grad_sum`](Options::grad_sum), [`sum_in_place`](Options::sum_in_place) without a
    ///   residual, [`moments`](Options::moments) without [`save_statistics`](Options::save_statistics), a [`Part`] of what
    ///   has no halves.
    /// - Parameters have several storage types; the norm is synchronized and one rank alone has too few values.
    /// - A kernel does not compile, or binds more buffers than the device lets it, or more bytes of what cannot be cut, or
    ///   has more workgroups than a dispatch; and the device was lost.
    pub fn prepare(&self, plan: &Plan, options: &Options) -> Result<Prepared> {
        self.prepare_forward(plan, options, self.binds_enough())
    }

    fn binds_enough(&self) -> bool {
        self.device.limits().max_storage_buffers_per_shader_stage >= MOST_STORAGE_BUFFERS
    }

    fn prepare_forward(&self, plan: &Plan, options: &Options, beside: bool) -> Result<Prepared> {
        let capabilities = self.capabilities_under(options)?;
        let strategy = match options.strategy {
            Some(forced) => forced.supports(plan, &capabilities).map(|()| forced)?,
            None => choose(plan, &capabilities),
        };
        let strategy = in_part(plan, strategy, options, &capabilities)?;
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
        let schedule = schedule(plan, &capabilities, options.wishes(strategy, beside)?)?;
        self.compiled(plan, Pass::Forward, options, schedule)
    }

    /// As [`prepare`](Self::prepare), for the backward pass: the gradients that are wanted, from what a forward pass
    /// prepared with [`save_statistics`](Options::save_statistics) kept.
    ///
    /// ```no_run
    /// # struct Mine { x: wgpu::Buffer, weight: wgpu::Buffer, y: wgpu::Buffer, kept: wgpu::Buffer, dy: wgpu::Buffer, dx: wgpu::Buffer, dweight: wgpu::Buffer }
    /// # fn step(device: &wgpu::Device, plan: &wgpu_norm::plan::Plan, pass: &mut wgpu::ComputePass, mine: &Mine) -> wgpu_norm::Result<()> {
    /// use wgpu_norm::Wanted;
    /// use wgpu_norm::gpu::{Buffers, Gpu, Options};
    ///
    /// let gpu = Gpu::new(device);
    /// let forward = gpu.prepare(plan, &Options::default().save_statistics(true))?; // a plan with a weight
    /// let backward = gpu.prepare_backward(plan, Wanted::all(plan), &Options::default())?;
    ///
    /// let (x, weight, kept) = (mine.x.slice(..), mine.weight.slice(..), mine.kept.slice(..));
    /// let forward = forward.bind(&Buffers::new(x, mine.y.slice(..)).weight(weight).statistics(kept))?;
    /// let buffers = Buffers::backward(x, mine.dy.slice(..), kept).weight(weight);
    /// let backward = backward.bind(&buffers.grad_input(mine.dx.slice(..)).grad_weight(mine.dweight.slice(..)))?;
    /// forward.record(pass);
    /// backward.record(pass);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare), save that [`grad_sum`](Options::grad_sum) takes a residual and
    /// [`moments`](Options::moments) a strategy that knows gradients of means and deviations; and when the gradient of a
    /// parameter is wanted that the plan has not.
    pub fn prepare_backward(&self, plan: &Plan, wanted: Wanted, options: &Options) -> Result<Prepared> {
        self.prepare_gradients(plan, wanted, options, self.binds_enough())
    }

    fn prepare_gradients(&self, plan: &Plan, wanted: Wanted, options: &Options, beside: bool) -> Result<Prepared> {
        wanted.check(plan)?;
        let capabilities = self.capabilities_under(options)?;
        // The first half serves the input's gradient, which the second one writes.
        let served = Wanted { input: wanted.input || options.part == Part::Reduce, ..wanted };
        let strategy = match options.strategy {
            Some(forced) => forced.supports_backward(plan, served, &capabilities).map(|()| forced)?,
            None => choose_backward(plan, served, &capabilities),
        };
        let strategy = in_part(plan, strategy, options, &capabilities)?;
        let strategy = match options.moments {
            true => with_moments(plan, strategy, options.strategy, &capabilities)?,
            false => strategy,
        };
        if options.grad_sum && !plan.residual {
            let reason = "the plan was lowered without a residual";
            return Err(Error::Unexpected { argument: "grad_sum", reason });
        }
        let schedule = backward(plan, wanted, &capabilities, options.wishes(strategy, beside)?)?;
        self.compiled(plan, Pass::Backward(wanted), options, schedule)
    }

    /// What the kernels have to do with, unless that is nothing.
    fn capabilities_under(&self, options: &Options) -> Result<Capabilities> {
        let (argument, needed, limit) = ("a kernel", 1, 0);
        let none = |unit, limit_name| Error::TooLarge { argument, needed, unit, limit, limit_name };
        match self.capabilities {
            Capabilities { max_workgroups: 0, .. } => {
                Err(none("workgroups", "max_compute_workgroups_per_dimension of the device"))
            }
            Capabilities { max_invocations: 0, .. } => Err(none("invocations", "most of a workgroup on the device")),
            own => Ok(Capabilities { native_f16: own.native_f16 && options.native_f16, ..own }),
        }
    }

    fn compiled(&self, plan: &Plan, pass: Pass, options: &Options, schedule: Schedule) -> Result<Prepared> {
        plan.check_parameter_types()?;
        let keys: Vec<_> = schedule.steps.iter().map(|step| (step.variant, step.constants)).collect();
        let (gpu, plan, options, pipelines) = (self.clone(), plan.clone(), *options, Vec::new());
        let prepared = Prepared { gpu, plan, pass, options, schedule, pipelines };
        prepared.check_limits()?;
        let Prepared { plan, schedule, .. } = &prepared;
        log::debug!("preparing {:?} as {}, {} dispatches", plan.view, schedule.strategy, schedule.steps.len());
        Ok(Prepared { pipelines: self.pipelines(&keys)?, ..prepared })
    }
}

impl Prepared {
    /// The same with dispatches of their own for running estimates, and for gradients of parameters.
    pub(super) fn apart(&self) -> Result<Self> {
        match self.pass {
            Pass::Forward => self.gpu.prepare_forward(&self.plan, &self.options, false),
            Pass::Backward(wanted) => self.gpu.prepare_gradients(&self.plan, wanted, &self.options, false),
        }
    }

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
        let active = self.plan.epilogue.activation.is_some();
        let is_cached = self.gpu.capabilities.caches(packs(self.plan.view));
        self.schedule.steps.iter().map(|step| step.passes(active, is_cached) * step.elements * size).sum()
    }

    /// Bytes of scratch that [`bind`](Self::bind) allocates and [`Bound`](super::Bound) owns.
    #[must_use]
    pub fn scratch_size(&self) -> u64 {
        self.schedule.statistics_bytes + self.schedule.pools.iter().sum::<u64>()
    }
}

impl Step {
    /// How often the dispatch reads or writes each element that it touches, not counting what it reads again from a
    /// cache. Where the statistics are given, backward needs what was normalized for an activation's slope alone.
    fn passes(&self, active: bool, is_cached: bool) -> u64 {
        let residual = if self.variant.residual.is_some_and(|r| r != Residual::None) { 2 } else { 0 };
        let inflow = u64::from(self.variant.inflow == Some(Inflow::Added));
        let x = u64::from(active || self.constants.given.is_none());
        match self.variant.kernel {
            Kernel::Resident | Kernel::ResidentColumns => 2 + residual,
            Kernel::Affine | Kernel::MergeAffine | Kernel::AffineColumns | Kernel::AffineFlat => 2,
            Kernel::Streaming => 3 - u64::from(is_cached),
            Kernel::Add => 3,
            Kernel::Split | Kernel::Column => 1,
            Kernel::ResidentGradient | Kernel::ResidentGradientColumns | Kernel::CachedGradient => 3 + inflow,
            Kernel::Sums | Kernel::ColumnSums => 2 + u64::from(self.variant.beside == Some(Beside::Gradient)),
            Kernel::Gradient | Kernel::CollectGradient | Kernel::GradientColumns | Kernel::GradientFlat => {
                2 + x + inflow
            }
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
