use super::{Backend, Engine, Parameters, reference};
use crate::collective::{Pass, Turn, ended};
use crate::error::{Error, Result};
use crate::gpu::synchronized::Rank;
use crate::norm::{Norm, Operands};
use crate::plan::{self, Extra, GradientArguments, Peers, Plan, Statistics, Wanted};
use crate::tensor::{Data, Spec, Tensor};
use crate::{cpu, gpu};

/// The gradients that flow into a backward pass.
#[derive(Debug, Clone, Copy)]
pub struct Upstream<'a> {
    /// That of the output.
    pub output: &'a Tensor,
    /// That of the sum of input and residual, as far as it went other ways than through the normalization.
    pub sum: Option<&'a Tensor>,
    /// That of the means of the groups, one each in their order, of any shape, in the output's type.
    pub mean: Option<&'a Tensor>,
    /// That of the deviations `sqrt(var + eps)` of the groups, as that of the means.
    pub std: Option<&'a Tensor>,
}

impl<'a> From<&'a Tensor> for Upstream<'a> {
    fn from(output: &'a Tensor) -> Self {
        Self { output, sum: None, mean: None, std: None }
    }
}

/// The gradients that a backward pass gives, each where it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients {
    /// That of the input; where there was a residual it is the residual's as well.
    pub input: Option<Tensor>,
    /// That of the weight, in its type.
    pub weight: Option<Tensor>,
    /// That of the bias, in its type.
    pub bias: Option<Tensor>,
    /// Those of what only some normalizations learn, each in its type.
    pub extra: Extra<Option<Tensor>>,
}

impl Upstream<'_> {
    pub(super) fn check(&self, input: &Tensor) -> Result<()> {
        check_shape("grad_output", self.output, input)?;
        self.sum.map_or(Ok(()), |sum| check_shape("grad_sum", sum, input))
    }
}

impl Gradients {
    /// Values with the shapes of what they belong to.
    pub(super) fn shaped(values: plan::Gradients, operands: &Operands) -> Result<Self> {
        let shaped = |data: Option<_>, spec: Option<&Spec>| {
            data.zip(spec).map(|(data, spec)| Tensor::new(spec.shape.clone(), data)).transpose()
        };
        let mut extra = Extra::default();
        for (_, (into, (data, spec))) in extra.as_mut().zip(values.extra.zip(operands.extra.as_ref())).named() {
            *into = shaped(data, spec.as_ref())?;
        }
        Ok(Self {
            input: shaped(values.input, Some(&operands.input))?,
            weight: shaped(values.weight, operands.weight.as_ref())?,
            bias: shaped(values.bias, operands.bias.as_ref())?,
            extra,
        })
    }
}

impl Engine {
    /// The gradients of what [`forward_saving`](Self::forward_saving) computed: of everything, or of what is `wanted`.
    ///
    /// `input` is what was normalized: the sum, where there was a residual. `parameters` are those of the forward
    /// pass; running estimates are not touched, and in evaluation they are constants.
    ///
    /// ```
    /// use wgpu_norm::norm::LayerNorm;
    /// use wgpu_norm::{Engine, Parameters, Tensor};
    ///
    /// let engine = Engine::new()?;
    /// let norm = LayerNorm::new([3]);
    /// let x = Tensor::from_f32([1, 3], vec![1.0, 2.0, 3.0])?;
    /// let forward = engine.forward_saving(&norm, &x, &mut Parameters::default())?;
    /// let upstream = Tensor::from_f32([1, 3], vec![1.0, 0.0, 0.0])?;
    /// let gradients = engine.backward(&norm, &x, &upstream, &forward.statistics, &Parameters::default(), None)?;
    /// let of_input = gradients.input.expect("everything was asked for").data().to_f32();
    /// assert!(of_input.iter().sum::<f32>().abs() < 1e-6); // a shift of the input changes nothing
    /// # Ok::<(), wgpu_norm::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Norm::lower`]; when a gradient has another shape or type than the input, or is asked for of a
    /// parameter that is not there; and when the device fails.
    #[cfg(not(target_family = "wasm"))]
    pub fn backward<'a>(
        &self,
        norm: &dyn Norm,
        input: &Tensor,
        upstream: impl Into<Upstream<'a>>,
        statistics: &Statistics,
        parameters: &Parameters<'_>,
        wanted: impl Into<Option<Wanted>>,
    ) -> Result<Gradients> {
        pollster::block_on(self.backward_async(norm, input, upstream, statistics, parameters, wanted))
    }

    /// As [`backward`](Self::backward), without blocking the thread while a GPU works.
    ///
    /// # Errors
    ///
    /// As [`backward`](Self::backward).
    pub async fn backward_async<'a>(
        &self,
        norm: &dyn Norm,
        input: &Tensor,
        upstream: impl Into<Upstream<'a>>,
        statistics: &Statistics,
        parameters: &Parameters<'_>,
        wanted: impl Into<Option<Wanted>>,
    ) -> Result<Gradients> {
        let turn = super::turn(norm, parameters.group, Pass::Backward)?;
        let shared = (norm, turn.as_ref());
        let result = self.run_backward(shared, input, upstream.into(), statistics, parameters, wanted.into()).await;
        ended(turn, result)
    }

    /// As [`backward`](Self::backward), with other ranks where there is a turn.
    pub(crate) async fn run_backward(
        &self,
        (norm, turn): (&dyn Norm, Option<&Turn<'_>>),
        input: &Tensor,
        upstream: Upstream<'_>,
        statistics: &Statistics,
        parameters: &Parameters<'_>,
        wanted: Option<Wanted>,
    ) -> Result<Gradients> {
        upstream.check(input)?;
        let operands = parameters.operands(input);
        let plan = norm.lower(&operands)?;
        let wanted = wanted.unwrap_or_else(|| Wanted::all(&plan));
        let arguments = GradientArguments {
            input: input.data(),
            grad_output: upstream.output.data(),
            grad_sum: upstream.sum.map(Tensor::data),
            statistics,
            weight: parameters.weight.map(Tensor::data),
            bias: parameters.bias.map(Tensor::data),
            extra: parameters.extra.map(|tensor| tensor.map(Tensor::data)),
            labels: parameters.labels,
            grad_mean: upstream.mean.map(Tensor::data),
            grad_std: upstream.std.map(Tensor::data),
        };
        arguments.check(&plan)?;
        let gradients = self.execute_backward_held(&plan, turn, &arguments, None, wanted).await?;
        Gradients::shaped(gradients, &operands)
    }

    /// Executes the backward pass of a plan on host tensors.
    ///
    /// # Errors
    ///
    /// When a tensor's length or type is not what the plan says, or a gradient is asked for of a parameter that
    /// the plan has not; and when the device fails.
    pub async fn execute_backward(
        &self,
        plan: &Plan,
        arguments: &GradientArguments<'_>,
        wanted: Wanted,
    ) -> Result<plan::Gradients> {
        arguments.check(plan)?;
        self.execute_backward_held(plan, None, arguments, None, wanted).await
    }

    /// As [`execute_backward`](Self::execute_backward), into gradients that the caller keeps: of those that are there,
    /// all values are replaced. It spares what new memory costs, which for large tensors is as much as the pass itself.
    /// (After an activation the CPU takes new memory all the same, as much as the input in f32 has, until it returns.)
    ///
    /// # Errors
    ///
    /// As [`execute_backward`](Self::execute_backward), and when a gradient's length or type is not what the plan says.
    pub async fn execute_backward_into(
        &self,
        plan: &Plan,
        arguments: &GradientArguments<'_>,
        gradients: &mut plan::Gradients,
    ) -> Result<()> {
        arguments.check(plan)?;
        gradients.check(plan)?;
        if plan.view.elements() == 0 {
            *gradients = plan::Gradients::zeros(plan, gradients.wanted());
        }
        self.fill_gradients(plan, None, arguments, None, gradients).await
    }

    /// As [`execute_backward`](Self::execute_backward); weight and bias are those that are held on the device, if
    /// something is.
    pub(crate) async fn execute_backward_held(
        &self,
        plan: &Plan,
        turn: Option<&Turn<'_>>,
        arguments: &GradientArguments<'_>,
        held: Option<&gpu::Held>,
        wanted: Wanted,
    ) -> Result<plan::Gradients> {
        wanted.check(plan)?;
        let peers = turn.map(|turn| turn as &dyn Peers);
        if peers.is_some() {
            // What flows into statistics would have to cross as well, and PyTorch's layer gives none out.
            refuse("grad_mean", arguments.grad_mean)?;
            refuse("grad_std", arguments.grad_std)?;
        }
        let mut gradients = plan::Gradients::zeros(plan, wanted);
        self.fill_gradients(plan, peers, arguments, held, &mut gradients).await?;
        Ok(gradients)
    }

    async fn fill_gradients(
        &self,
        plan: &Plan,
        peers: Option<&dyn Peers>,
        arguments: &GradientArguments<'_>,
        held: Option<&gpu::Held>,
        gradients: &mut plan::Gradients,
    ) -> Result<()> {
        let wanted = gradients.wanted();
        match (&self.backend, peers) {
            (Backend::Reference, _) => reference::backward(plan, peers, arguments, gradients)?,
            (Backend::Cpu, _) => cpu::backward(plan, peers, arguments, gradients)?,
            (Backend::Gpu { gpu, queue }, Some(peers)) => {
                let rank = Rank { gpu, queue, plan, peers, options: self.options };
                rank.backward(arguments, held, wanted, gradients).await?;
            }
            (Backend::Gpu { gpu, queue }, None) => {
                let moments = arguments.grad_mean.is_some() || arguments.grad_std.is_some();
                let options = self.options.in_place(false).grad_sum(arguments.grad_sum.is_some()).moments(moments);
                let options = (wanted, &options);
                match gpu::mixed::backward((gpu, queue), (plan, options), arguments, held, gradients).await {
                    Err(error) if held.is_none() => {
                        self.excuse(error)?;
                        cpu::backward(plan, None, arguments, gradients)?;
                    }
                    result => result?,
                }
            }
        }
        Ok(())
    }
}

fn refuse(argument: &'static str, inflow: Option<&Data>) -> Result<()> {
    let reason = "the statistics are those of all ranks of a group";
    inflow.map_or(Ok(()), |_| Err(Error::Unexpected { argument, reason }))
}

fn check_shape(argument: &'static str, gradient: &Tensor, input: &Tensor) -> Result<()> {
    if gradient.shape() != input.shape() {
        return Err(Error::Shape {
            argument,
            got: gradient.shape().to_vec(),
            expected: format!("shape {:?}, that of the output", input.shape()),
        });
    }
    if gradient.dtype() != input.dtype() {
        return Err(Error::Dtype {
            argument,
            got: gradient.dtype(),
            expected: format!("{}, the type of the output", input.dtype()),
        });
    }
    Ok(())
}
