use super::buffers::{Argument, Buffers, Expectation};
use super::options::Part;
use super::prepare::{Pass, Prepared};
use super::role::Role;
use crate::error::{Error, Result};
use crate::plan::{Plan, Wanted, obstacle_to_inflow};
use crate::tensor::Dtype;

impl Expectation {
    /// A buffer that is read.
    fn read(role: Role, bytes: u64, alignment: u64) -> Self {
        Self { role, bytes, alignment, written: false, optional: false }
    }

    /// A buffer that is written.
    fn written(role: Role, bytes: u64, alignment: u64) -> Self {
        Self { written: true, ..Self::read(role, bytes, alignment) }
    }

    /// The same, but it may be left out.
    fn optional(self, optional: bool) -> Self {
        Self { optional, ..self }
    }
}

impl Prepared {
    /// What the pass expects of its buffers.
    pub(super) fn expected(&self) -> Vec<Expectation> {
        let own = match (self.pass, self.options.part) {
            (Pass::Forward, Part::Whole) => {
                [self.learned(), self.labels_and_flag(), self.of_forward(), self.state()].concat()
            }
            (Pass::Forward, Part::Reduce) => {
                [self.of_residual(), vec![Expectation { written: true, ..self.statistics() }]].concat()
            }
            (Pass::Forward, Part::Apply) => {
                let own = vec![self.result_tensor(Role::Output), self.statistics()];
                [self.learned(), self.labels_and_flag(), own].concat()
            }
            (Pass::Backward(wanted), part) => {
                [self.learned(), self.labels_and_flag(), self.of_backward(part), self.gradients(wanted, part)].concat()
            }
        };
        [vec![self.tensor(Role::Input)], own].concat()
    }

    /// Everything that was given, or what is missing or too much.
    pub(super) fn arguments<'a>(&self, buffers: &Buffers<'a>) -> Result<Vec<Argument<'a>>> {
        let expected = self.expected();
        if let Some(role) = buffers.given().find(|role| !expected.iter().any(|e| e.role == *role)) {
            let reason = if self.knows(role) { "this pass does not take it" } else { role.reasons().to_refuse };
            return Err(Error::Unexpected { argument: role.name(), reason });
        }
        let mut arguments = Vec::with_capacity(expected.len());
        for Expectation { role, bytes, alignment, written, optional } in expected {
            match buffers.get(role) {
                Some(slice) => arguments.push(Argument { role, slice, bytes, alignment, written }),
                None if optional => {}
                None => return Err(Error::Missing { argument: role.name(), reason: role.reasons().to_need }),
            }
        }
        self.check_inflow(buffers)?;
        arguments.iter().try_for_each(Argument::check)?;
        Ok(arguments)
    }

    /// Whether the plan, or an option, has to do with an argument, whatever the pass.
    fn knows(&self, role: Role) -> bool {
        match role {
            Role::Residual | Role::Sum => self.plan.residual,
            Role::RunningMean | Role::RunningVar => self.plan.running_len().is_some(),
            Role::NumBatchesTracked => self.plan.running_update().is_some_and(|update| update.counter),
            Role::Labels | Role::ErrorFlag => self.plan.labels().is_some(),
            Role::Mean | Role::Std | Role::GradMean | Role::GradStd => self.options.moments,
            role => role == role.of_what() && self.plan.parameter(role).1.is_some(),
        }
    }

    /// Of the gradients that flow into means and deviations one at least has to be there, and that of the mean only where
    /// a mean is taken away.
    fn check_inflow(&self, buffers: &Buffers<'_>) -> Result<()> {
        let (Pass::Backward(_), true) = (self.pass, self.options.moments) else { return Ok(()) };
        let [of_mean, of_std] = [Role::GradMean, Role::GradStd].map(|role| buffers.get(role).is_some());
        if !of_mean && !of_std {
            let reason = "the pass was prepared with moments: it, or grad_std, or both have to be there";
            return Err(Error::Missing { argument: Role::GradMean.name(), reason });
        }
        let obstacle = obstacle_to_inflow(&self.plan, true).filter(|_| of_mean);
        obstacle.map_or(Ok(()), |reason| Err(Error::Unexpected { argument: Role::GradMean.name(), reason }))
    }

    fn tensor(&self, role: Role) -> Expectation {
        Expectation::read(role, self.plan.tensor_bytes(), self.options.offset_alignment)
    }

    fn result_tensor(&self, role: Role) -> Expectation {
        Expectation { written: true, ..self.tensor(role) }
    }

    fn learned(&self) -> Vec<Expectation> {
        let plan = &self.plan;
        // Backward needs the bias for the slope of an activation alone.
        let needs_bias = self.pass == Pass::Forward || plan.epilogue.activation.is_some() || plan.derivation.is_some();
        let extra = Role::EXTRA.zip(plan.extra).into_array();
        let all = [(Role::Weight, plan.affine.weight), (Role::Bias, plan.affine.bias)].into_iter().chain(extra);
        all.filter(|(_, dtype)| dtype.is_some())
            .map(|(role, _)| self.parameter(role).optional(role == Role::Bias && !needs_bias))
            .collect()
    }

    fn parameter(&self, role: Role) -> Expectation {
        Expectation::read(role, self.plan.parameter_bytes(role), self.options.offset_alignment)
    }

    fn labels_and_flag(&self) -> Vec<Expectation> {
        let Some(samples) = self.plan.labels() else { return Vec::new() };
        let storage = u64::from(self.gpu.capabilities.storage_alignment);
        let flag = Expectation::written(Role::ErrorFlag, 4, storage).optional(true);
        vec![Expectation::read(Role::Labels, 8 * samples as u64, storage), flag]
    }

    fn of_forward(&self) -> Vec<Expectation> {
        let mut expected = [vec![self.result_tensor(Role::Output)], self.of_residual()].concat();
        if self.options.save_statistics {
            expected.push(Expectation { written: true, ..self.statistics() });
        }
        if self.options.moments {
            expected.extend([Role::Mean, Role::Std].map(|role| Expectation { written: true, ..self.moments(role) }));
        }
        expected
    }

    fn of_residual(&self) -> Vec<Expectation> {
        if self.plan.residual { vec![self.tensor(Role::Residual), self.result_tensor(Role::Sum)] } else { Vec::new() }
    }

    fn of_backward(&self, part: Part) -> Vec<Expectation> {
        let mut expected = vec![self.tensor(Role::GradOutput), self.statistics()];
        if part != Part::Whole {
            let storage = u64::from(self.gpu.capabilities.storage_alignment);
            let sums = Expectation::read(Role::Sums, self.sums_bytes(), storage);
            expected.push(Expectation { written: part == Part::Reduce, ..sums });
        }
        if self.options.grad_sum && part != Part::Reduce {
            expected.push(self.tensor(Role::GradSum));
        }
        if self.options.moments {
            expected.extend([Role::GradMean, Role::GradStd].map(|role| self.moments(role).optional(true)));
        }
        expected
    }

    fn gradients(&self, wanted: Wanted, part: Part) -> Vec<Expectation> {
        let of_input = wanted.input && part != Part::Reduce;
        let parameters = part != Part::Apply;
        let extra = Role::GRAD_EXTRA.zip(self.plan.extra).into_array();
        let wanted_of_extra = extra.map(|(role, dtype)| (role, wanted.extra && dtype.is_some()));
        let weight_and_bias = [(Role::GradWeight, wanted.weight), (Role::GradBias, wanted.bias)];
        let of_parameters =
            weight_and_bias.into_iter().chain(wanted_of_extra).filter(|(_, wanted)| *wanted && parameters);
        let of_parameters = of_parameters.map(|(role, _)| {
            Expectation::written(role, self.plan.parameter_bytes(role.of_what()), self.options.offset_alignment)
        });
        of_input.then(|| self.result_tensor(Role::GradInput)).into_iter().chain(of_parameters).collect()
    }

    /// Bytes of the sums between the halves of a backward pass; nothing of an empty tensor.
    pub(super) fn sums_bytes(&self) -> u64 {
        if self.plan.view.elements() == 0 { 0 } else { 8 * self.plan.view.statistics() as u64 }
    }

    fn statistics(&self) -> Expectation {
        Expectation::read(Role::Statistics, 16 * self.plan.kept_statistics() as u64, 16)
    }

    /// A mean or a deviation for each group.
    fn moments(&self, role: Role) -> Expectation {
        // An empty tensor has none, however many groups its other axes make.
        let groups = if self.plan.view.elements() == 0 { 0 } else { self.plan.view.statistics() };
        Expectation::read(role, (groups * self.plan.dtype.size()) as u64, self.options.offset_alignment)
    }

    /// Running estimates and their counter.
    fn state(&self) -> Vec<Expectation> {
        let Some(channels) = self.plan.running_len() else { return Vec::new() };
        let update = self.plan.running_update();
        let storage = u64::from(self.gpu.capabilities.storage_alignment);
        let mut expected: Vec<_> = [Role::RunningMean, Role::RunningVar]
            .into_iter()
            .map(|role| Expectation {
                written: update.is_some(),
                ..Expectation::read(role, 4 * channels as u64, storage)
            })
            .collect();
        // In evaluation the counter may be there, and is left alone.
        let counts = update.is_some_and(|u| u.counter);
        if counts || update.is_none() {
            let counter = Expectation::read(Role::NumBatchesTracked, 8, storage).optional(!counts);
            expected.push(Expectation { written: counts, ..counter });
        }
        expected
    }

    /// Pairs of a written and a read argument that are the same slice.
    pub(super) fn same(&self) -> Vec<(Role, Role)> {
        let tensors = match self.pass {
            Pass::Forward => (Role::Output, Role::Input),
            Pass::Backward(_) => (Role::GradInput, Role::GradOutput),
        };
        let pairs = [(tensors, self.options.in_place), ((Role::Sum, Role::Residual), self.options.sum_in_place)];
        pairs.into_iter().filter(|(_, same)| *same).map(|(pair, _)| pair).collect()
    }
}

impl Plan {
    /// Length and storage type of something that is learned.
    pub(super) fn parameter(&self, role: Role) -> (usize, Option<Dtype>) {
        let len = self.parameter_len();
        let extra = Role::EXTRA.zip(self.extra_len().zip(self.extra)).into_array();
        match role {
            Role::Weight => (len, self.affine.weight),
            Role::Bias => (len, self.affine.bias),
            _ => extra.into_iter().find(|(own, _)| *own == role).map_or((0, None), |(_, parameter)| parameter),
        }
    }

    fn parameter_bytes(&self, role: Role) -> u64 {
        let (len, dtype) = self.parameter(role);
        (len * dtype.map_or(0, Dtype::size)) as u64
    }
}

/// What an error says of an argument that is missing, and of one that has no place.
pub(super) struct Reasons {
    pub(super) to_need: &'static str,
    pub(super) to_refuse: &'static str,
}

impl Role {
    /// What decides whether a pass takes the argument.
    pub(super) fn reasons(self) -> Reasons {
        use Role::{
            ErrorFlag, GradMean, GradOutput, GradStd, GradSum, Input, Labels, Mean, NumBatchesTracked, Output,
            Residual, RunningMean, RunningVar, Statistics, Std, Sum, Sums,
        };
        let (to_need, to_refuse) = match self {
            Input => ("every pass reads it", "no pass is without it"),
            Output => (
                "a forward pass writes it",
                "this pass has none, its buffers are made by Buffers::backward or Buffers::reduce",
            ),
            GradOutput => ("a backward pass reads it", "a forward pass has none, its buffers are made by Buffers::new"),
            Statistics => (
                "the pass was prepared with save_statistics, or as a half",
                "the pass was prepared without save_statistics",
            ),
            Sums => (
                "the pass was prepared as half of a backward pass",
                "the pass was not prepared as half of a backward pass",
            ),
            Residual | Sum => ("the plan was lowered with a residual", "the plan was lowered without a residual"),
            RunningMean | RunningVar => {
                ("the plan was lowered with running estimates", "the plan was lowered without running estimates")
            }
            NumBatchesTracked => ("the plan counts batches", "the plan was lowered without a counter of batches"),
            Labels | ErrorFlag => ("the plan was lowered with labels", "the plan was lowered without labels"),
            Mean | Std | GradMean | GradStd => {
                ("the pass was prepared with moments", "the pass was prepared without moments")
            }
            GradSum => ("the pass was prepared with grad_sum", "the pass was prepared without grad_sum"),
            parameter if parameter == parameter.of_what() => {
                ("the plan was lowered with it", "the plan was lowered without it")
            }
            _ => ("the pass was prepared for this gradient", "the pass was not prepared for this gradient"),
        };
        Reasons { to_need, to_refuse }
    }

    /// What a gradient is the gradient of; anything else is itself.
    pub(super) fn of_what(self) -> Self {
        let extra = Self::GRAD_EXTRA.zip(Self::EXTRA).into_array();
        match self {
            Self::GradWeight => Self::Weight,
            Self::GradBias => Self::Bias,
            _ => extra.into_iter().find(|(gradient, _)| *gradient == self).map_or(self, |(_, of)| of),
        }
    }
}
