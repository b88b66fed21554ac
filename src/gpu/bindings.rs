use super::bind::{PREPARED_FROM, Scratch, Window};
use super::buffers::Buffers;
use super::capabilities::Capabilities;
use super::planner::{Pool, Step, beyond_binding};
use super::prepare::Prepared;
use super::role::Role;
use super::slots::{
    AffineSlot, Beside, Collected, Epsilon, Inflow, Kernel, Known, MomentumSlot, Picking, Placement, Residual, Saved,
    Terms, Tracked,
};
use super::uniforms::Task;
use super::variant::Variant;
use crate::error::{Error, Result};
use crate::tensor::Dtype;

const SOURCE: u32 = 0;
const RESULT: u32 = 1;
const TASK: u32 = 2;
const WEIGHT: u32 = 3;
const BIAS: u32 = 4;
const STATISTICS: u32 = 5;
const PARTIALS: u32 = 6;
const RUNNING_MEAN: u32 = 7;
const RUNNING_VAR: u32 = 8;
const COUNTER: u32 = 9;
const X: u32 = 10;
const ADDED: u32 = 11;
const SUM: u32 = 12;
const SUMS: u32 = 13;
const GRAD_WEIGHT: u32 = 14;
const GRAD_BIAS: u32 = 15;
const PREPARED: u32 = 16;
const CLASS_WEIGHT: u32 = 17;
const CLASS_BIAS: u32 = 18;
const TAU: u32 = 19;
const EPS_L: u32 = 20;
const LABELS: u32 = 21;
const FLAG: u32 = 22;
const MEAN_WEIGHT: u32 = 23;
const VAR_WEIGHT: u32 = 24;
const MEAN: u32 = 25;
const STD: u32 = 26;
const GRAD_MEAN: u32 = 27;
const GRAD_STD: u32 = 28;
const OF_SHARES: u32 = 29;

impl Prepared {
    /// What a binding of the shaders stands for, by its number there.
    pub(super) fn resource<'a>(
        &self,
        binding: u32,
        index: usize,
        step: &Step,
        buffers: &Buffers<'a>,
        scratch: &'a Scratch,
    ) -> Option<wgpu::BufferBinding<'a>> {
        let affine = self.plan.affine;
        let tensor = |role| Some(self.part(buffers.get(role)?, &step.window, self.plan.dtype.size()));
        let parameter = |role, dtype: Option<Dtype>| {
            Some(self.part(buffers.get(role)?, &self.in_whole_packs(&step.parameters), dtype?.size()))
        };
        let whole = |role: Role| {
            let (len, dtype) = self.plan.parameter(role.of_what());
            Some(self.part(buffers.get(role)?, &(0..len as u64), dtype?.size()))
        };
        // Where one of the tensors that a kernel knows is absent, another stands in its place and is not looked at.
        let prepared_from = |role| whole(role).or_else(|| PREPARED_FROM.into_iter().find_map(whole));
        let picked = self.picked_roles();
        let of_groups = |role| Some(self.part(buffers.get(role)?, &step.statistics, self.plan.dtype.size()));
        let sums_between_halves =
            buffers.get(Role::Sums).map(|slice| Window { offset: slice.offset(), bytes: self.sums_bytes(), lead: 0 });
        let pool = |pool: Pool| match (pool, sums_between_halves.zip(buffers.get(Role::Sums))) {
            (Pool::Groups, Some((window, slice))) => Some(window.of(slice)),
            _ => Some(scratch.pools[pool as usize].as_ref()?.as_entire_buffer_binding()),
        };
        match binding {
            SOURCE => tensor(step.source),
            RESULT => tensor(self.result()),
            TASK => {
                let size = std::num::NonZeroU64::new(size_of::<Task>() as u64);
                let buffer = scratch.tasks.as_ref()?;
                Some(wgpu::BufferBinding { buffer, offset: index as u64 * self.task_stride(), size })
            }
            WEIGHT if step.variant.kernel == Kernel::Prepare => prepared_from(Role::Weight),
            BIAS if step.variant.kernel == Kernel::Prepare => prepared_from(Role::Bias),
            WEIGHT => parameter(Role::Weight, affine.weight),
            BIAS => parameter(Role::Bias, affine.bias),
            STATISTICS => match buffers.get(Role::Statistics) {
                Some(slice) => Some(self.part(slice, &step.statistics, 16)),
                None => Some(scratch.statistics.as_ref()?.as_entire_buffer_binding()),
            },
            PARTIALS => pool(step.partials),
            RUNNING_MEAN => Some(self.estimate(buffers.get(Role::RunningMean)?)),
            RUNNING_VAR => Some(self.estimate(buffers.get(Role::RunningVar)?)),
            COUNTER => {
                let slice = buffers.get(Role::NumBatchesTracked)?;
                Some(Window { offset: slice.offset(), bytes: 8, lead: 0 }.of(slice))
            }
            X => tensor(Role::Input),
            ADDED => tensor(self.added()),
            SUM => tensor(Role::Sum),
            SUMS => pool(step.sums),
            GRAD_WEIGHT => whole(step.gradients[0]),
            GRAD_BIAS => whole(step.gradients[1]),
            PREPARED => pool(Pool::Prepared),
            CLASS_WEIGHT | TAU => prepared_from(picked[0]),
            CLASS_BIAS | EPS_L => prepared_from(picked[1]),
            LABELS => {
                let bytes = 8 * self.plan.labels().unwrap_or(0) as u64;
                let slice = buffers.get(Role::Labels)?;
                Some(Window { offset: slice.offset(), bytes, lead: 0 }.of(slice))
            }
            FLAG => match buffers.get(Role::ErrorFlag) {
                Some(slice) => Some(Window { offset: slice.offset(), bytes: 4, lead: 0 }.of(slice)),
                None => pool(Pool::Flag),
            },
            MEAN_WEIGHT => whole(Role::MeanWeight),
            VAR_WEIGHT => whole(Role::VarWeight),
            MEAN => of_groups(Role::Mean),
            STD => of_groups(Role::Std),
            GRAD_MEAN => of_groups(Role::GradMean).or_else(|| of_groups(Role::GradStd)),
            GRAD_STD => of_groups(Role::GradStd).or_else(|| of_groups(Role::GradMean)),
            OF_SHARES => pool(Pool::Shares),
            _ => None,
        }
    }

    /// Checks that no step binds more buffers than the device lets it, or more bytes of one, or has more workgroups.
    /// Tensors are cut until they fit a binding; parameters where they are collected, what is looked up and scratch are
    /// bound as they are.
    pub(super) fn check_limits(&self) -> Result<()> {
        let most = u64::from(self.gpu.device.limits().max_storage_buffers_per_shader_stage);
        let Capabilities { max_binding: limit, max_workgroups, .. } = Capabilities::of(&self.gpu.device);
        for step in &self.schedule.steps {
            if step.workgroups.iter().any(|along| *along > max_workgroups) {
                let needed = step.workgroups.iter().copied().map(u64::from).product();
                return Err(Error::TooLarge {
                    argument: "input",
                    needed,
                    unit: "workgroups",
                    limit: u64::from(max_workgroups).pow(2),
                    limit_name: "square of max_compute_workgroups_per_dimension of the device",
                });
            }
            let needed = step.variant.bindings().filter(|binding| *binding != TASK).count() as u64;
            if needed > most {
                let (argument, unit, limit_name) =
                    ("a kernel", "storage buffers", "max_storage_buffers_per_shader_stage of the device");
                return Err(Error::TooLarge { argument, needed, unit, limit: most, limit_name });
            }
            let mut bound = step.variant.bindings().filter_map(|binding| self.bytes_bound(binding, step));
            if let Some((argument, needed)) = bound.find(|(_, bytes)| *bytes > limit) {
                return Err(beyond_binding(argument, needed, limit));
            }
        }
        Ok(())
    }

    /// The name and bytes of what a step binds beside tensors and statistics.
    fn bytes_bound(&self, binding: u32, step: &Step) -> Option<(&'static str, u64)> {
        let bytes_of = |role: Role, len: Option<u64>| {
            let (all, dtype) = self.plan.parameter(role.of_what());
            Some((role.name(), len.unwrap_or(all as u64) * dtype?.size() as u64))
        };
        let whole = |role| bytes_of(role, None);
        let part = |role| bytes_of(role, Some(step.parameters.end - step.parameters.start));
        let pool = |pool: Pool| Some(("scratch", self.schedule.pools[pool as usize]));
        let estimates = 4 * self.plan.running_len().unwrap_or(0) as u64;
        let is_prepare = step.variant.kernel == Kernel::Prepare;
        let picked = self.picked_roles();
        match binding {
            WEIGHT if is_prepare => whole(Role::Weight),
            BIAS if is_prepare => whole(Role::Bias),
            WEIGHT => part(Role::Weight),
            BIAS => part(Role::Bias),
            CLASS_WEIGHT | TAU => whole(picked[0]),
            CLASS_BIAS | EPS_L => whole(picked[1]),
            GRAD_WEIGHT => whole(step.gradients[0]),
            GRAD_BIAS => whole(step.gradients[1]),
            RUNNING_MEAN => Some((Role::RunningMean.name(), estimates)),
            RUNNING_VAR => Some((Role::RunningVar.name(), estimates)),
            LABELS => Some((Role::Labels.name(), 8 * self.plan.labels().unwrap_or(0) as u64)),
            PARTIALS => pool(step.partials),
            SUMS => pool(step.sums),
            PREPARED => pool(Pool::Prepared),
            OF_SHARES => pool(Pool::Shares),
            _ => None,
        }
    }
}

impl Variant {
    /// The bindings that the entry point uses, by number. A test holds them against the shaders.
    pub fn bindings(&self) -> impl Iterator<Item = u32> + use<> {
        use Kernel::{
            Affine, AffineColumns, AffineFlat, Average, CachedGradient, Collect, CollectGradient, Column, ColumnSums,
            Counter, Given, Gradient, GradientColumns, GradientFlat, Merge, MergeAffine, Mix, MomentsInflow, Nothing,
            Prepare, Publish, Resident, ResidentColumns, ResidentGradient, ResidentGradientColumns, Running, Split,
            Streaming, Sums, Unmix, UnmixSums,
        };
        let v = *self;
        let by_group = matches!(v.kernel, ResidentGradient | ResidentGradientColumns | CachedGradient);
        let reads_x =
            matches!(v.kernel, Sums | ColumnSums | CollectGradient | Gradient | GradientColumns | GradientFlat)
                || by_group;
        let writes = matches!(v.kernel, Resident | ResidentColumns | Streaming)
            || matches!(v.kernel, Affine | MergeAffine | AffineColumns | AffineFlat)
            || matches!(v.kernel, CollectGradient | Gradient | GradientColumns | GradientFlat)
            || v.beside == Some(Beside::Gradient)
            || by_group;
        let partials = matches!(
            v.kernel,
            Split | Column | Merge | MergeAffine | Sums | Collect | CollectGradient | Unmix | UnmixSums
        ) || by_group
            || v.collected == Some(Collected::Parts);
        let of_statistics = matches!(v.kernel, Average | Mix | Nothing | Publish | Unmix | UnmixSums | MomentsInflow);
        let statistics = matches!(v.kernel, Merge | Given | Running)
            || of_statistics
            || v.known == Some(Known::Statistics)
            || v.saved == Some(Saved::Statistics)
            || reads_x;
        let running = v.kernel == Running || v.known == Some(Known::Estimates) || v.tracked == Some(Tracked::Estimates);
        let counter =
            v.kernel == Counter || matches!(v.momentum, Some(MomentumSlot::Counted | MomentumSlot::Cumulative));
        let adds = matches!(v.residual, Some(Residual::Apart)) || v.inflow == Some(Inflow::Added);
        let sums = matches!(v.kernel, Gradient | GradientColumns | GradientFlat | Unmix | UnmixSums | MomentsInflow)
            || v.collected == Some(Collected::Sums)
            || v.terms == Some(Terms::Channels)
            || v.beside == Some(Beside::Gradient);
        let by_label = v.terms == Some(Terms::Classes) || v.picking == Some(Picking::Labelled);
        let prepared = v.kernel == Prepare
            || v.affine == Some(AffineSlot::Prepared)
            || v.epsilon == Some(Epsilon::Learned)
            || matches!(v.terms, Some(Terms::Classes | Terms::Shared));
        let mixes = matches!(v.kernel, Mix | Unmix);
        let (of_weight, of_bias) = v.collected.map_or((false, false), Collected::parameters);
        let used = [
            (SOURCE, v.placement == Some(Placement::Apart)),
            (RESULT, writes),
            (TASK, v.kernel != Counter),
            (WEIGHT, v.kernel == Prepare || matches!(v.affine, Some(AffineSlot::Scale | AffineSlot::ScaleShift))),
            (BIAS, v.kernel == Prepare || matches!(v.affine, Some(AffineSlot::Shift | AffineSlot::ScaleShift))),
            (STATISTICS, statistics),
            (PARTIALS, partials),
            (RUNNING_MEAN, running),
            (RUNNING_VAR, running),
            (COUNTER, counter),
            (X, reads_x),
            (ADDED, adds),
            (SUM, matches!(v.residual, Some(Residual::Apart | Residual::InPlace))),
            (SUMS, sums),
            (GRAD_WEIGHT, of_weight),
            (GRAD_BIAS, of_bias),
            (PREPARED, prepared),
            (CLASS_WEIGHT, v.picking == Some(Picking::Labelled)),
            (CLASS_BIAS, v.picking == Some(Picking::Labelled)),
            (TAU, v.picking == Some(Picking::Own)),
            (EPS_L, v.picking == Some(Picking::Own)),
            (LABELS, by_label),
            (FLAG, v.picking == Some(Picking::Labelled)),
            (MEAN_WEIGHT, mixes),
            (VAR_WEIGHT, mixes),
            (MEAN, v.kernel == Publish),
            (STD, v.kernel == Publish),
            (GRAD_MEAN, v.kernel == MomentsInflow),
            (GRAD_STD, v.kernel == MomentsInflow),
            (OF_SHARES, v.kernel == Unmix),
        ];
        used.into_iter().filter(|(_, used)| *used).map(|(binding, _)| binding)
    }
}
