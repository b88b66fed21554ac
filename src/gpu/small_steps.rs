//! The dispatches between those of whole tensors: parameters made ready, statistics mixed, written or joined by
//! gradients. They move some bytes a parameter or a statistic.

use super::backward::{PAIR, Strided};
use super::boxes::Box4;
use super::partials::Partials;
use super::planner::{Chunk, ENTRY, Ground, Planner, Pool, SLACK, Step, beyond_binding, low};
use super::role::Role;
use super::slots::{Collected, Kernel, Known, Parameter, Picking, Published, Terms};
use super::strategy::Strategy;
use super::variant::Variant;
use crate::error::Result;
use crate::plan::{Batch, Derivation, Mixing, ParameterMap, Tables, View, Wanted};

/// Where mixed statistics lie: the mixtures, then the instances', the layers', the batch's.
#[derive(Debug, Clone, Copy)]
struct Places {
    groups: u64,
    batch: u64,
    end: u64,
}

impl Places {
    fn of(mixing: Mixing) -> Self {
        let groups = (mixing.samples * mixing.channels) as u64;
        let batch = 2 * groups + mixing.samples as u64;
        Self { groups, batch, end: batch + mixing.channels as u64 }
    }
}

/// A box of one element and its view, for kernels that know neither.
fn point() -> (Ground, Box4) {
    (Ground { view: View::new(1, 1, 1, 1), map: ParameterMap::constant(1) }, Box4 { from: [0; 4], to: [1; 4] })
}

impl Planner<'_> {
    /// A kernel with one lane, or one team, an item.
    pub(super) fn of_items(&mut self, variant: Variant, team: u32, items: u64) -> &mut Step {
        let (ground, point) = point();
        let mut task = self.task(ground, &point, &point);
        task.items = low(items);
        self.push(ground, variant, team, task, &point, &point, None)
    }

    fn words(&self) -> Parameter {
        Parameter::one_by_one(self.plan.parameter_dtype())
    }

    // Parameters.

    /// The parameters of the affine map, where they are not the caller's own.
    pub(super) fn prepare(&mut self) -> Result<()> {
        let Some(derivation) = self.plan.derivation else { return Ok(()) };
        let parameters = self.plan.affine.map.len as u64;
        let needed = 4 * (3 * parameters + 2 * derivation.width as u64 + 2);
        self.check_scratch("parameters of the affine map", needed)?;
        self.out.reserve(Pool::Prepared, needed);
        self.out.reserve(Pool::Flag, 4);
        let mut variant = Variant::new(Kernel::Prepare);
        variant.parameter = Some(self.words());
        variant.picking = Some(if derivation.tables.is_some() { Picking::Labelled } else { Picking::Own });
        let centred = self.plan.is_made_with_one().then_some(true);
        self.of_items(variant, 1, parameters).constants.zero_centred = centred;
        Ok(())
    }

    fn check_scratch(&self, argument: &'static str, needed: u64) -> Result<()> {
        let limit = self.device.max_binding;
        if needed <= limit { Ok(()) } else { Err(beyond_binding(argument, needed, limit)) }
    }

    /// Whether what reaches thresholds and eps is summed beside weight and bias.
    pub(super) fn has_second_sums(&self) -> bool {
        self.plan.extra.tau.is_some() || self.plan.extra.eps_l.is_some()
    }

    /// Pairs of sums that a cell has then.
    pub(super) fn pairs_a_cell(&self) -> u64 {
        if self.has_second_sums() { 2 } else { 1 }
    }

    /// The gradients of the caller's parameters from those of the affine map's, which the carry holds.
    pub(super) fn derived_parameters(&mut self, derivation: Derivation, wanted: Wanted) {
        let (width, columns) = (derivation.width as u64, derivation.columns() as u64);
        let extra = self.plan.extra.map(|dtype| dtype.is_some() && wanted.extra);
        let own = (wanted.weight, wanted.bias, [Role::GradWeight, Role::GradBias]);
        let Some(Tables { classes, are_parameters }) = derivation.tables else {
            let repeat = derivation.repeat as u64;
            let strided = Strided::neighbours(columns, repeat);
            self.derived(Terms::All, strided, own, 0);
            let parameters = columns * repeat;
            self.derived(Terms::All, strided, (extra.tau, false, [Role::GradTau, Role::GradTau]), parameters);
            let all = Strided::neighbours(1, parameters);
            return self.derived(Terms::All, all, (false, extra.eps_l, [Role::GradEpsL, Role::GradEpsL]), parameters);
        };
        let of_samples =
            |items| Strided { items, inner: width, outer: 0, stride: width, run: 1, count: derivation.rows as u64 };
        let of_classes = of_samples(classes as u64 * width);
        if are_parameters {
            return self.derived(Terms::Classes, of_classes, own, 0);
        }
        let tables = [Role::GradClassWeight, Role::GradClassBias];
        self.derived(Terms::Classes, of_classes, (extra.class_weight, extra.class_bias, tables), 0);
        self.derived(Terms::Shared, of_samples(width), own, 0);
    }

    /// One or two of the caller's gradients, from pairs in the carry.
    fn derived(&mut self, terms: Terms, strided: Strided, (one, other, roles): (bool, bool, [Role; 2]), origin: u64) {
        if !one && !other {
            return;
        }
        let collected = Collected::of(one, other, self.plan.parameter_dtype());
        let step = self.collect(collected, strided);
        step.variant.terms = Some(terms);
        (step.partials, step.gradients) = (Pool::Carry, roles);
        step.task.terms_origin = low(origin);
    }

    /// Zeros for the gradients of everything that is learned, of an empty tensor.
    pub(super) fn zero_parameters(&mut self, wanted: Wanted) {
        self.out.reserve(Pool::Cells, PAIR);
        let extra_len = self.plan.extra_len();
        let extra = self.plan.extra.map(|dtype| dtype.is_some() && wanted.extra);
        let pairs = [
            (wanted.weight, wanted.bias, [Role::GradWeight, Role::GradBias], self.plan.parameter_len()),
            (
                extra.class_weight,
                extra.class_bias,
                [Role::GradClassWeight, Role::GradClassBias],
                extra_len.class_weight,
            ),
            (extra.tau, false, [Role::GradTau, Role::GradTau], extra_len.tau),
            (false, extra.eps_l, [Role::GradEpsL, Role::GradEpsL], extra_len.eps_l),
            (extra.mean_weight, extra.var_weight, [Role::GradMeanWeight, Role::GradVarWeight], extra_len.mean_weight),
        ];
        for (one, other, roles, len) in pairs {
            if len == 0 || (!one && !other) {
                continue;
            }
            let len = len as u64;
            let strided = Strided::rows(len, 0);
            let step = self.collect(Collected::of(one, other, self.plan.parameter_dtype()), strided);
            (step.partials, step.gradients) = (Pool::Cells, roles);
        }
    }

    // Statistics.

    /// Instance statistics, mixed with those of the layers and the batch; then the apply step.
    pub(super) fn mixed(&mut self, mixing: Mixing) -> Result<()> {
        let whole = Box4::whole(self.plan.view);
        let places = Places::of(mixing);
        self.check_scratch("statistics", places.end * ENTRY + SLACK)?;
        self.check_scratch("partial moments", places.groups * self.partials_a_group() * ENTRY)?;
        self.out.statistics_bytes = if self.wishes.saves { 0 } else { places.end * ENTRY };
        self.out.reserve(Pool::Partials, places.groups * self.partials_a_group() * ENTRY);
        let first = self.out.steps.len();
        self.statistics(&whole)?;
        if let Some(merge) = self.out.steps.last_mut() {
            merge.task.statistics_shift = low(places.groups);
        }
        self.average(mixing);
        if mixing.batch == Batch::Running {
            self.given_at(mixing.channels, places.batch);
        }
        let mut variant = Variant::new(Kernel::Mix);
        variant.parameter = Some(self.words());
        variant.epsilon = Some(self.epsilon());
        let step = self.of_items(variant, 1, places.groups);
        (step.task.samples, step.task.channels) = (low(mixing.samples as u64), low(mixing.channels as u64));
        self.apply(&whole)?;
        self.out.steps[first..].iter_mut().for_each(|step| step.statistics = 0..places.end);
        Ok(())
    }

    /// Statistics of the layers and, where it is the input's, the batch, from those of instances; running estimates follow.
    fn average(&mut self, mixing: Mixing) {
        let mut variant = Variant::new(Kernel::Average);
        variant.epsilon = Some(super::slots::Epsilon::Fixed);
        variant.tracks(self.plan.running_update());
        self.of_layers_and_batch(variant, mixing);
    }

    /// A kernel with a team for each layer, and for each channel of the batch where the input is that.
    fn of_layers_and_batch(&mut self, mut variant: Variant, mixing: Mixing) -> &mut Step {
        let [samples, channels] = [mixing.samples, mixing.channels].map(|n| n as u64);
        let (items, most) = match mixing.batch {
            Batch::Input { .. } => (samples + channels, samples.max(channels)),
            Batch::Running => (samples, channels),
        };
        let team = self.device.team_to_collect(most, true);
        variant.lanes = Some(self.lanes(team));
        let step = self.of_items(variant, team, items);
        (step.task.samples, step.task.channels) = (low(samples), low(channels));
        step
    }

    /// Running estimates in the place of the batch's statistics.
    fn given_at(&mut self, channels: usize, place: u64) {
        let view = View::new(1, 1, channels, 1);
        let whole = Box4::whole(view);
        let ground = Ground { view, map: ParameterMap::constant(1) };
        let mut task = self.task(ground, &whole, &whole);
        (task.items, task.statistics_shift) = (low(channels as u64), low(place));
        let mut variant = Variant::new(Kernel::Given);
        variant.knows(Known::Estimates);
        self.push(ground, variant, 1, task, &whole, &whole, None);
    }

    /// Values in place of normalized ones.
    pub(super) fn nothing(&mut self, chunk: &Chunk) {
        let mut task = self.task(self.ground(), chunk, chunk);
        task.items = low(chunk.groups());
        self.push(self.ground(), Variant::new(Kernel::Nothing), 1, task, chunk, chunk, None);
    }

    /// Mean and deviation of every group, from statistics that the application owns.
    pub(super) fn publish(&mut self) -> Result<()> {
        let groups = View::new(1, 1, 1, self.plan.view.statistics());
        let published = Published::of(self.plan.dtype);
        let mut variant = Variant::new(Kernel::Publish);
        variant.published = Some(published);
        let fits = |piece: &Box4| self.entries_fit(&(piece.from[3]..piece.to[3]));
        // Of words that hold two.
        for piece in self.cut(Box4::whole(groups), [1, 1, 1, 2], &fits)? {
            let step = self.of_items(variant, 1, piece.extent(3));
            step.statistics = piece.from[3]..piece.to[3];
        }
        Ok(())
    }

    // Gradients through statistics.

    /// What becomes of the sums over the groups of a chunk before the input's gradient is made of them.
    pub(super) fn through_statistics(&mut self, chunk: &Chunk, wanted: Wanted) -> Result<()> {
        if let Some(mixing) = self.plan.source.mixing() {
            return self.unmix(mixing, wanted);
        }
        if self.wishes.moments {
            let mut variant = Variant::new(Kernel::MomentsInflow);
            variant.parameter = Some(Parameter::one_by_one(self.plan.dtype));
            let statistics = chunk.statistics(self.plan.view);
            let step = self.of_items(variant, 1, statistics.end - statistics.start);
            step.statistics = statistics;
        }
        Ok(())
    }

    fn unmix(&mut self, mixing: Mixing, wanted: Wanted) -> Result<()> {
        let places = Places::of(mixing);
        let (samples, channels) = (mixing.samples as u64, mixing.channels as u64);
        self.check_scratch("statistics", places.end * ENTRY + SLACK)?;
        self.check_scratch("gradients of how statistics are mixed", 3 * places.groups * PAIR)?;
        self.out.reserve(Pool::Layers, (samples + channels) * PAIR);
        self.out.reserve(Pool::Shares, 3 * places.groups * PAIR);
        let step = self.of_layers_and_batch(Variant::new(Kernel::UnmixSums), mixing);
        (step.statistics, step.partials, step.sums) = (0..places.end, Pool::Groups, Pool::Layers);
        let mut variant = Variant::new(Kernel::Unmix);
        variant.parameter = Some(self.words());
        let step = self.of_items(variant, 1, places.groups);
        (step.statistics, step.partials) = (0..places.end, Pool::Layers);
        (step.task.samples, step.task.channels) = (low(samples), low(channels));
        step.task.present = u32::from(matches!(mixing.batch, Batch::Input { .. }));
        if wanted.extra {
            let strided = Strided::rows(3, places.groups);
            let step = self.collect(Collected::of(true, true, self.plan.parameter_dtype()), strided);
            (step.partials, step.gradients) = (Pool::Shares, [Role::GradVarWeight, Role::GradMeanWeight]);
        }
        Ok(())
    }

    /// Partial moments of each group.
    fn partials_a_group(&self) -> u64 {
        match self.wishes.strategy {
            Strategy::Column => Partials::of_columns(self.plan, self.device).count,
            _ => Partials::of_groups(self.plan, self.device).count,
        }
    }
}
