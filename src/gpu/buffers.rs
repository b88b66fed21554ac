//! The buffers of a call, checked before wgpu can panic over them.

use super::role::Role;
use crate::error::{Error, Result};
use crate::plan::Extra;
use wgpu::{BufferSlice, BufferUsages};

/// The buffers of one call, each with its offset and length. What may be left out may be `None` too.
#[derive(Debug, Clone, Copy)]
pub struct Buffers<'a> {
    slices: [Option<BufferSlice<'a>>; Role::ALL.len()],
}

impl<'a> Buffers<'a> {
    /// Input and output of a forward pass. They are different buffers, or the same slice of one where the plan
    /// was prepared to run in place.
    #[must_use]
    pub fn new(input: BufferSlice<'a>, output: BufferSlice<'a>) -> Self {
        Self::none().with(Role::Input, input).with(Role::Output, output)
    }

    /// What a backward pass reads: what was normalized (the input, or its sum with the residual), the gradient of
    /// the output, and the statistics that the forward pass kept.
    #[must_use]
    pub fn backward(input: BufferSlice<'a>, grad_output: BufferSlice<'a>, statistics: BufferSlice<'a>) -> Self {
        Self::none().with(Role::Input, input).with(Role::GradOutput, grad_output).with(Role::Statistics, statistics)
    }

    /// What the first half of a forward pass takes: the input, and a place for its statistics, as
    /// [`statistics`](Self::statistics) has it.
    #[must_use]
    pub fn reduce(input: BufferSlice<'a>, statistics: BufferSlice<'a>) -> Self {
        Self::none().with(Role::Input, input).with(Role::Statistics, statistics)
    }

    /// With the sums over groups between the halves of a backward pass: 8 bytes for each group, two f32 (gradients of
    /// normalized values times these, and the gradients).
    #[must_use]
    pub fn sums(self, sums: impl Into<Option<BufferSlice<'a>>>) -> Self {
        self.with(Role::Sums, sums)
    }

    /// With a weight, stored as the plan was lowered with: [`Plan::parameter_len`](crate::plan::Plan::parameter_len)
    /// values.
    #[must_use]
    pub fn weight(self, weight: impl Into<Option<BufferSlice<'a>>>) -> Self {
        self.with(Role::Weight, weight)
    }

    /// With a bias, stored as the plan was lowered with: as many values as the weight has.
    #[must_use]
    pub fn bias(self, bias: impl Into<Option<BufferSlice<'a>>>) -> Self {
        self.with(Role::Bias, bias)
    }

    /// With running estimates, an f32 a channel each. Like the counter, labels, the error flag and sums they start at a
    /// multiple of the device's `min_storage_buffer_offset_alignment`.
    #[must_use]
    pub fn running(self, mean: impl Into<Option<BufferSlice<'a>>>, var: impl Into<Option<BufferSlice<'a>>>) -> Self {
        self.with(Role::RunningMean, mean).with(Role::RunningVar, var)
    }

    /// With the counter of batches, a little-endian I64.
    #[must_use]
    pub fn num_batches_tracked(self, counter: impl Into<Option<BufferSlice<'a>>>) -> Self {
        self.with(Role::NumBatchesTracked, counter)
    }

    /// With what only some normalizations learn, stored as the plan was lowered with.
    #[must_use]
    pub fn extra(self, extra: Extra<Option<BufferSlice<'a>>>) -> Self {
        self.with_all(Role::EXTRA, extra)
    }

    /// With the class of each sample, a little-endian I64 each.
    #[must_use]
    pub fn labels(self, labels: impl Into<Option<BufferSlice<'a>>>) -> Self {
        self.with(Role::Labels, labels)
    }

    /// With a place for one u32 that becomes 1 where a label has no row in the tables, and stays as it is otherwise.
    /// Such a label is taken for the last class.
    #[must_use]
    pub fn error_flag(self, flag: impl Into<Option<BufferSlice<'a>>>) -> Self {
        self.with(Role::ErrorFlag, flag)
    }

    /// With places for the mean and the deviation `sqrt(var + eps)` of each group, in the tensor's type, where the plan
    /// was prepared with [`moments`](super::Options::moments).
    #[must_use]
    pub fn moments(self, mean: impl Into<Option<BufferSlice<'a>>>, std: impl Into<Option<BufferSlice<'a>>>) -> Self {
        self.with(Role::Mean, mean).with(Role::Std, std)
    }

    /// With the gradients that flow into the mean and the deviation of each group, in the tensor's type, where the
    /// backward pass was prepared with [`moments`](super::Options::moments). Either may be left out.
    #[must_use]
    pub fn grad_moments(
        self,
        mean: impl Into<Option<BufferSlice<'a>>>,
        std: impl Into<Option<BufferSlice<'a>>>,
    ) -> Self {
        self.with(Role::GradMean, mean).with(Role::GradStd, std)
    }

    /// With places for the gradients of what only some normalizations learn, each in its type.
    #[must_use]
    pub fn grad_extra(self, extra: Extra<Option<BufferSlice<'a>>>) -> Self {
        self.with_all(Role::GRAD_EXTRA, extra)
    }

    /// With a residual, and the place of its sum with the input: another buffer, or the same slice where the plan
    /// was prepared with [`sum_in_place`](super::Options::sum_in_place).
    #[must_use]
    pub fn residual(
        self,
        residual: impl Into<Option<BufferSlice<'a>>>,
        sum: impl Into<Option<BufferSlice<'a>>>,
    ) -> Self {
        self.with(Role::Residual, residual).with(Role::Sum, sum)
    }

    /// With a place for what backward needs, where the plan was prepared with
    /// [`save_statistics`](super::Options::save_statistics): 16 bytes for each of
    /// [`Plan::kept_statistics`](crate::plan::Plan::kept_statistics), four f32 (the mean, what f32 left of it, rstd, the
    /// biased variance).
    #[must_use]
    pub fn statistics(self, statistics: impl Into<Option<BufferSlice<'a>>>) -> Self {
        self.with(Role::Statistics, statistics)
    }

    /// With the gradient that reaches the sum of input and residual by other ways, where the plan was prepared with
    /// [`grad_sum`](super::Options::grad_sum).
    #[must_use]
    pub fn grad_sum(self, grad_sum: impl Into<Option<BufferSlice<'a>>>) -> Self {
        self.with(Role::GradSum, grad_sum)
    }

    /// With a place for the gradient of the input, in its type: another buffer than that of the output's gradient,
    /// or the same slice where the plan was prepared to run in place.
    #[must_use]
    pub fn grad_input(self, grad_input: impl Into<Option<BufferSlice<'a>>>) -> Self {
        self.with(Role::GradInput, grad_input)
    }

    /// With a place for the gradient of the weight, in its type.
    #[must_use]
    pub fn grad_weight(self, grad_weight: impl Into<Option<BufferSlice<'a>>>) -> Self {
        self.with(Role::GradWeight, grad_weight)
    }

    /// With a place for the gradient of the bias, in its type.
    #[must_use]
    pub fn grad_bias(self, grad_bias: impl Into<Option<BufferSlice<'a>>>) -> Self {
        self.with(Role::GradBias, grad_bias)
    }

    const fn none() -> Self {
        Self { slices: [None; Role::ALL.len()] }
    }

    fn with(mut self, role: Role, slice: impl Into<Option<BufferSlice<'a>>>) -> Self {
        self.slices[role as usize] = slice.into();
        self
    }

    fn with_all(self, roles: Extra<Role>, slices: Extra<Option<BufferSlice<'a>>>) -> Self {
        roles.zip(slices).into_array().into_iter().fold(self, |buffers, (role, slice)| buffers.with(role, slice))
    }

    pub(super) fn get(&self, role: Role) -> Option<BufferSlice<'a>> {
        self.slices[role as usize]
    }

    pub(super) fn given(&self) -> impl Iterator<Item = Role> + '_ {
        Role::ALL.into_iter().filter(|role| self.get(*role).is_some())
    }
}

/// One argument: what it is, its slice, and what the kernels do with it.
pub(super) struct Argument<'a> {
    pub(super) role: Role,
    pub(super) slice: BufferSlice<'a>,
    pub(super) bytes: u64,
    pub(super) alignment: u64,
    pub(super) written: bool,
}

/// What a pass expects of a buffer.
#[derive(Clone, Copy)]
pub(super) struct Expectation {
    pub(super) role: Role,
    pub(super) bytes: u64,
    pub(super) alignment: u64,
    pub(super) written: bool,
    /// Whether it may be left out.
    pub(super) optional: bool,
}

impl Argument<'_> {
    pub(super) fn check(&self) -> Result<()> {
        let (argument, slice, alignment) = (self.role.name(), self.slice, self.alignment);
        if !slice.buffer().usage().contains(BufferUsages::STORAGE) {
            let got = format!("{:?}", slice.buffer().usage());
            return Err(Error::BufferUsage { argument, got, expected: "STORAGE" });
        }
        if slice.offset() % alignment != 0 {
            return Err(Error::BufferOffset { argument, got: slice.offset(), alignment });
        }
        // Bindings are whole words, so a tensor of an odd number of halves needs the rest of its last one.
        let bytes = self.bytes.next_multiple_of(4);
        let beyond = slice.offset() + bytes > slice.buffer().size();
        if slice.size() < self.bytes || beyond {
            let got = slice.buffer().size().min(slice.offset() + slice.size());
            let offset = slice.offset();
            return Err(Error::BufferSize { argument, got, expected: offset + bytes, offset });
        }
        Ok(())
    }

    /// Whether this begins where `other` does, whose place it takes.
    fn check_in_place_of(&self, other: &Self) -> Result<()> {
        let (own, others) = (self.slice, other.slice);
        if own.buffer() == others.buffer() && own.offset() == others.offset() {
            return Ok(());
        }
        let is_same = own.buffer() == others.buffer();
        let got = if is_same { format!("byte {} of the same", own.offset()) } else { "another buffer".into() };
        Err(Error::NotInPlace {
            written: self.role.name(),
            other: other.role.name(),
            option: if self.role == Role::Sum { "sum_in_place" } else { "in_place" },
            got,
            expected: format!("byte {} of its buffer", others.offset()),
        })
    }

    fn overlaps(&self, other: &Self) -> bool {
        let end = |a: &Self| a.slice.offset() + a.bytes;
        self.slice.offset() < end(other) && other.slice.offset() < end(self)
    }
}

/// Checks that nothing that is written shares memory with anything else, but for the pairs that are meant to be one.
pub(super) fn check_aliasing(arguments: &[Argument<'_>], same: &[(Role, Role)]) -> Result<()> {
    let find = |role| arguments.iter().find(|a| a.role == role);
    for &(written, other) in same {
        if let (Some(one), Some(two)) = (find(written), find(other)) {
            one.check_in_place_of(two)?;
        }
    }
    for written in arguments.iter().filter(|a| a.written) {
        for other in arguments.iter().filter(|a| a.role != written.role) {
            let shares = written.slice.buffer() == other.slice.buffer();
            let meant = same.contains(&(written.role, other.role)) || same.contains(&(other.role, written.role));
            let is_read = !other.written || is_read_again(other.role);
            let collide = written.overlaps(other) || (is_read && share_a_dispatch(written.role, other.role));
            if shares && collide && !meant {
                let (written, other) = (written.role, other.role);
                return Err(Error::Aliasing {
                    written: written.name(),
                    other: other.name(),
                    expected: match can_be_one(written, other) {
                        true => {
                            "different buffers, since wgpu binds no buffer for reading and writing at once, \
                             or the same slice and a plan prepared to run in place"
                        }
                        false => "different buffers, since wgpu binds no buffer for reading and writing at once",
                    },
                });
            }
        }
    }
    Ok(())
}

/// Whether an option lets one be written over the other.
fn can_be_one(written: Role, other: Role) -> bool {
    let pairs = [(Role::Output, Role::Input), (Role::GradInput, Role::GradOutput), (Role::Sum, Role::Residual)];
    pairs.contains(&(written, other)) || pairs.contains(&(other, written))
}

/// Whether running estimates that are moved, or gradients of weight and bias, lie in a buffer with what is read, which no
/// dispatch binds for both.
pub(super) fn written_shares_a_buffer(arguments: &[Argument<'_>]) -> bool {
    let is_small = |role: Role| role.is_state() || matches!(role, Role::GradWeight | Role::GradBias);
    let written = arguments.iter().filter(|a| a.written && is_small(a.role));
    let mut read = arguments.iter().filter(|a| !a.written);
    read.any(|read| written.clone().any(|own| own.slice.buffer() == read.slice.buffer()))
}

/// Whether what a pass writes is also read by a later dispatch of it, be it by some strategies only: which one is taken
/// depends on the device, and what a buffer may be shared with must not.
fn is_read_again(written: Role) -> bool {
    matches!(written, Role::Statistics | Role::Sum)
}

/// Whether some dispatch binds both, one of them to be written: then they have to be different buffers, since
/// wgpu binds no buffer for reading and writing at once.
fn share_a_dispatch(written: Role, read: Role) -> bool {
    use Role::{
        GradBias, GradClassBias, GradClassWeight, GradEpsL, GradMeanWeight, GradTau, GradVarWeight, GradWeight, Labels,
        NumBatchesTracked, RunningMean, RunningVar,
    };
    match written {
        RunningMean | RunningVar => matches!(read, NumBatchesTracked | Role::Statistics),
        NumBatchesTracked => read.is_state() || read == Role::Statistics,
        // Statistics are written from running estimates in evaluation, and beside the tensors in training.
        Role::Statistics => true,
        // Gradients of parameters are collected from scratch, by labels; those written beside other things that are read
        // have dispatches of their own where these share their buffer.
        GradWeight | GradBias | GradClassWeight | GradClassBias | GradTau | GradEpsL | GradMeanWeight
        | GradVarWeight => read == Labels,
        // Mean and deviation are made of statistics when these are there, the flag where parameters are picked by labels.
        Role::Mean | Role::Std => read == Role::Statistics,
        Role::ErrorFlag => matches!(read, Labels | Role::Weight | Role::Bias | Role::ClassWeight | Role::ClassBias),
        // In evaluation the apply step reads running estimates itself.
        Role::Output => read != NumBatchesTracked,
        _ => !read.is_state(),
    }
}
