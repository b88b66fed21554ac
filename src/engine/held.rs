//! State that stays where the engine computes.

use super::{Backend, Engine, Forward, Gradients, Upstream};
use crate::collective::Turn;
use crate::error::Result;
use crate::gpu::Held;
use crate::norm::{Norm, Operands};
use crate::plan::{Arguments, Extra, GradientArguments, Peers, Statistics, Wanted, check_labels};
use crate::tensor::{Data, Tensor};

/// The tensors of a call that are not held.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inputs<'a> {
    /// The input; of a backward pass what was normalized.
    pub(crate) tensor: &'a Tensor,
    /// What is added to the input first.
    pub(crate) residual: Option<&'a Tensor>,
    /// The class of each sample.
    pub(crate) labels: Option<&'a [i64]>,
    /// The pass that other ranks make too, if any do.
    pub(crate) turn: Option<&'a Turn<'a>>,
}

impl Engine {
    /// A place on the device for what a norm remembers; none where the engine computes in host memory.
    pub(crate) fn device_state(&self) -> Option<Held> {
        match &self.backend {
            Backend::Gpu { gpu, .. } => Some(Held::new(gpu)),
            Backend::Cpu | Backend::Reference => None,
        }
    }

    /// A forward pass with what is held on the engine's device. `operands` are those of the call.
    pub(crate) async fn forward_held(
        &self,
        norm: &dyn Norm,
        operands: &Operands,
        Inputs { tensor: input, residual, labels, turn }: Inputs<'_>,
        held: &mut Held,
        saved: bool,
    ) -> Result<Forward> {
        let plan = norm.lower(operands)?;
        // What is held fits, and lowering has checked shapes; the labels' values nobody has seen yet.
        check_labels(&plan, labels)?;
        let zeros = || Data::zeros(input.dtype(), input.data().len());
        let (mut output, mut sum) = (zeros(), plan.residual.then(zeros));
        let mut statistics = Statistics::default();
        let mut arguments = Arguments {
            residual: residual.map(Tensor::data),
            sum: sum.as_mut(),
            statistics: saved.then_some(&mut statistics),
            labels,
            ..Arguments::default()
        };
        let peers = turn.map(|turn| turn as &dyn Peers);
        self.execute_held(&plan, peers, Some(input.data()), &mut arguments, Some(held), &mut output).await?;
        let shaped = |data| Tensor::new(input.shape(), data);
        Ok(Forward { output: shaped(output)?, sum: sum.map(shaped).transpose()?, statistics })
    }

    /// The backward pass of [`forward_held`](Self::forward_held).
    pub(crate) async fn backward_held(
        &self,
        norm: &dyn Norm,
        operands: &Operands,
        Inputs { tensor: input, labels, turn, .. }: Inputs<'_>,
        upstream: Upstream<'_>,
        (held, statistics): (&Held, &Statistics),
        wanted: Wanted,
    ) -> Result<Gradients> {
        upstream.check(input)?;
        let plan = norm.lower(operands)?;
        let arguments = GradientArguments {
            input: input.data(),
            grad_output: upstream.output.data(),
            grad_sum: upstream.sum.map(Tensor::data),
            statistics,
            weight: None,
            bias: None,
            extra: Extra::default(),
            labels,
            grad_mean: upstream.mean.map(Tensor::data),
            grad_std: upstream.std.map(Tensor::data),
        };
        arguments.check_call(&plan)?;
        let gradients = self.execute_backward_held(&plan, turn, &arguments, Some(held), wanted).await?;
        Gradients::shaped(gradients, operands)
    }
}
