//! Forward and backward passes.

use super::description::{Call, Recipe};
use super::input::{Input, InputRule, Reading, check_axes};
use super::{Description, Layer};
use crate::collective::{Group, Pass, Turn, ended};
use crate::engine::{self, Gradients, Upstream};
use crate::error::{Error, Result};
use crate::plan::{Statistics, Wanted};
use crate::tensor::Tensor;

/// What a forward pass gives that a backward pass follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// The normalized tensor.
    pub output: Tensor,
    /// The sum of input and residual, where there is one: what was normalized.
    pub sum: Option<Tensor>,
    statistics: Statistics,
    call: Call,
    /// Those of the call, which backward needs again.
    labels: Option<Vec<i64>>,
    revision: u64,
    /// The other ranks of the pass, who make its backward pass too.
    group: Option<Group>,
}

impl Forward {
    /// Mean and `1 / sqrt(var + eps)` of each group.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Whether a tensor can be what was normalized: the output has its shape and type.
    fn check_input(&self, input: &Tensor) -> Result<()> {
        let (argument, expected) = ("input", "that of the forward pass");
        let (shape, dtype) = (self.output.shape(), self.output.dtype());
        if input.shape() != shape {
            let expected = format!("shape {shape:?}, {expected}");
            return Err(Error::Shape { argument, got: input.shape().to_vec(), expected });
        }
        if input.dtype() != dtype {
            return Err(Error::Dtype { argument, got: input.dtype(), expected: format!("{dtype}, {expected}") });
        }
        Ok(())
    }
}

impl Layer {
    /// Normalizes a tensor. In training the running estimates follow, where there are any; an empty batch is
    /// counted and moves none of them.
    ///
    /// ```
    /// use wgpu_norm::layer::{InstanceNorm2d, Layer};
    /// use wgpu_norm::{Engine, Tensor};
    ///
    /// let mut norm = Layer::new(&Engine::new()?, InstanceNorm2d::new(1))?;
    /// let y = norm.forward(&Tensor::from_f32([1, 1, 1, 2], vec![1.0, 3.0])?)?;
    /// assert!((y.data().to_f32()[1] - 1.0).abs() < 1e-4);
    /// # Ok::<(), wgpu_norm::Error>(())
    /// ```
    ///
    /// # Shapes
    ///
    /// Those of PyTorch's class; the output has the input's.
    ///
    /// # Errors
    ///
    /// When the input has another number of axes or channels than the layer takes, or one value a statistic where
    /// statistics are the input's own; and when the device fails. The state is then as it was, save where ranks have
    /// met already: then all have moved their running estimates.
    #[cfg(not(target_family = "wasm"))]
    pub fn forward<'a>(&mut self, input: impl Into<Input<'a>>) -> Result<Tensor> {
        pollster::block_on(self.forward_async(input))
    }

    /// As [`forward`](Self::forward), without blocking the thread while a GPU works.
    ///
    /// Among ranks it waits for the others, on the thread, for as long as their group lets it; so does its future where it is
    /// dropped before it is done, since the others have to be told. Elsewhere what is dropped did not happen.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    pub async fn forward_async<'a>(&mut self, input: impl Into<Input<'a>>) -> Result<Tensor> {
        self.pass(input.into(), false).await.map(|forward| forward.output)
    }

    /// As [`forward`](Self::forward), keeping what [`backward`](Self::backward) needs, and the sum of input and
    /// residual where there is one.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    #[cfg(not(target_family = "wasm"))]
    pub fn forward_saving<'a>(&mut self, input: impl Into<Input<'a>>) -> Result<Forward> {
        pollster::block_on(self.forward_saving_async(input))
    }

    /// As [`forward_saving`](Self::forward_saving), without blocking the thread while a GPU works; see
    /// [`forward_async`](Self::forward_async) for what ranks do.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    pub async fn forward_saving_async<'a>(&mut self, input: impl Into<Input<'a>>) -> Result<Forward> {
        self.pass(input.into(), true).await
    }

    async fn pass(&mut self, input: Input<'_>, saved: bool) -> Result<Forward> {
        let group = self.sharing_group().cloned();
        let turn = group.as_ref().map(|group| Turn::new(group, Pass::Forward));
        let result = self.forward_among(input, turn.as_ref(), saved).await;
        ended(turn, result).map(|forward| Forward { group, ..forward })
    }

    async fn forward_among(&mut self, input: Input<'_>, turn: Option<&Turn<'_>>, saved: bool) -> Result<Forward> {
        let call = self.call(input.tensor.shape())?;
        let norm = self.description.norm(call);
        let engine::Forward { output, sum, statistics } =
            self.state.forward(&self.engine, &*norm, (input, turn), saved).await?;
        let labels = input.labels.filter(|_| saved).map(<[i64]>::to_vec);
        Ok(Forward { output, sum, statistics, call, labels, revision: self.state.revision(), group: None })
    }

    /// The gradients of what [`forward_saving`](Self::forward_saving) computed: of everything (of the input alone,
    /// where the layer is frozen), or of what is `wanted`.
    ///
    /// `input` is that of the forward pass. Training or evaluation is what it was then, and so are labels.
    ///
    /// ```
    /// use wgpu_norm::layer::{Layer, LayerNorm};
    /// use wgpu_norm::{Engine, Tensor};
    ///
    /// let mut norm = Layer::new(&Engine::new()?, LayerNorm::new([3]))?;
    /// let x = Tensor::from_f32([1, 3], vec![1.0, 2.0, 3.0])?;
    /// let forward = norm.forward_saving(&x)?;
    /// let upstream = Tensor::from_f32([1, 3], vec![1.0, 0.0, 0.0])?;
    /// let gradients = norm.backward(&x, &upstream, &forward, None)?;
    /// assert_eq!(gradients.bias.expect("there is a bias").data().to_f32(), [1.0, 0.0, 0.0]);
    /// # Ok::<(), wgpu_norm::Error>(())
    /// ```
    ///
    /// # Shapes
    ///
    /// `upstream` and the input's gradient have the input's shape, the others that of their parameter.
    ///
    /// # Errors
    ///
    /// When the input has another shape or type than that of the forward pass, or a gradient than the input; when a
    /// gradient is asked for that the layer does not give; when parameters were replaced since the forward pass; and when the
    /// device fails.
    #[cfg(not(target_family = "wasm"))]
    pub fn backward<'a>(
        &self,
        input: &Tensor,
        upstream: impl Into<Upstream<'a>>,
        forward: &Forward,
        wanted: impl Into<Option<Wanted>>,
    ) -> Result<Gradients> {
        pollster::block_on(self.backward_async(input, upstream, forward, wanted))
    }

    /// As [`backward`](Self::backward), without blocking the thread while a GPU works.
    ///
    /// # Errors
    ///
    /// As [`backward`](Self::backward).
    pub async fn backward_async<'a>(
        &self,
        input: &Tensor,
        upstream: impl Into<Upstream<'a>>,
        forward: &Forward,
        wanted: impl Into<Option<Wanted>>,
    ) -> Result<Gradients> {
        let turn = forward.group.as_ref().map(|group| Turn::new(group, Pass::Backward));
        let result = self.backward_among(input, turn.as_ref(), upstream.into(), forward, wanted.into()).await;
        ended(turn, result)
    }

    async fn backward_among(
        &self,
        input: &Tensor,
        turn: Option<&Turn<'_>>,
        upstream: Upstream<'_>,
        forward: &Forward,
        wanted: Option<Wanted>,
    ) -> Result<Gradients> {
        if forward.revision != self.state.revision() {
            return Err(Error::Value {
                argument: "forward",
                got: "one from before parameters were replaced, or the layer was converted".into(),
                expected: "a forward pass of this layer as it is".into(),
            });
        }
        forward.check_input(input)?;
        let wanted = self.wanted(wanted)?;
        let norm = self.description.norm(forward.call);
        // A residual's gradient is the sum's: backward needs to know only that there was one, of this shape and type.
        let normalized = Input {
            tensor: forward.sum.as_ref().unwrap_or(input),
            residual: forward.sum.as_ref(),
            labels: forward.labels.as_deref(),
        };
        self.state.backward(&self.engine, &*norm, (normalized, turn), upstream, &forward.statistics, wanted).await
    }

    /// Mean and deviation `sqrt(var + eps)` at each position of what a forward pass of [`PositionalNorm`] normalized,
    /// in the input's type: what a later [`MomentShortcut`](crate::norm::MomentShortcut) takes as bias and weight.
    /// Their gradients flow back through [`Upstream`].
    ///
    /// ```
    /// use wgpu_norm::layer::{Layer, PositionalNorm};
    /// use wgpu_norm::{Engine, Tensor};
    ///
    /// let mut norm = Layer::new(&Engine::new()?, PositionalNorm::new())?;
    /// let forward = norm.forward_saving(&Tensor::from_f32([1, 2, 2], vec![1.0, 5.0, 3.0, 9.0])?)?;
    /// let (mean, std) = norm.moments(&forward)?;
    /// assert_eq!(mean.shape(), [1, 1, 2]);
    /// assert!((mean.data().to_f32()[1] - 7.0).abs() < 1e-6 && (std.data().to_f32()[0] - 2f32.sqrt()).abs() < 1e-4);
    /// # Ok::<(), wgpu_norm::Error>(())
    /// ```
    ///
    /// # Shapes
    ///
    /// `[N, 1, *]`, or `[N, *, 1]` with [`Layout::ChannelsLast`](crate::Layout::ChannelsLast).
    ///
    /// # Errors
    ///
    /// When the layer is none of [`PositionalNorm`], or the forward pass kept another number of statistics.
    ///
    /// [`PositionalNorm`]: super::PositionalNorm
    pub fn moments(&self, forward: &Forward) -> Result<(Tensor, Tensor)> {
        match &self.description.recipe {
            // The output has the input's shape and type.
            Recipe::Positional(norm) => norm.moments(&forward.output, &forward.statistics),
            _ => Err(Error::Value {
                argument: "layer",
                got: self.class().to_owned(),
                expected: "PositionalNorm, whose moments are those of positions".into(),
            }),
        }
    }

    fn wanted(&self, wanted: Option<Wanted>) -> Result<Wanted> {
        let contents = self.contents();
        let Some(wanted) = wanted else {
            let there = [contents.weight.is_some(), contents.bias, contents.extra.any()];
            let [weight, bias, extra] = there.map(|is_there| is_there && !self.frozen);
            return Ok(Wanted { input: true, weight, bias, extra });
        };
        let reason = "the layer is frozen";
        match wanted {
            Wanted { weight: true, .. } if self.frozen => Err(Error::Unexpected { argument: "grad_weight", reason }),
            Wanted { bias: true, .. } if self.frozen => Err(Error::Unexpected { argument: "grad_bias", reason }),
            Wanted { extra: true, .. } if self.frozen => Err(Error::Unexpected { argument: "grad_extra", reason }),
            _ => Ok(wanted),
        }
    }

    /// Whether statistics come from the input, rather than from running estimates.
    fn uses_input(&self) -> bool {
        self.contents().running.is_none() || (self.training && !self.frozen)
    }

    /// Whether statistics are those of a group.
    fn is_synchronized(&self) -> bool {
        self.description.group.is_some() && self.training && self.uses_input()
    }

    /// The other ranks, where there are any that make a forward pass with this one.
    fn sharing_group(&self) -> Option<&Group> {
        self.description.group.as_ref().filter(|group| self.is_synchronized() && group.has_peers())
    }

    /// What this call is, or why the layer does not take such an input.
    fn call(&self, shape: &[usize]) -> Result<Call> {
        let uses_input = self.uses_input();
        let rule = match &self.description.input {
            InputRule::Channels(rule) => rule,
            InputRule::Axes(least) => {
                return check_axes(*least, shape).map(|()| Call { uses_input, batched: true, synchronized: false });
            }
            InputRule::Lowering => return Ok(Call { uses_input, batched: true, synchronized: false }),
        };
        let reading = rule.read(shape)?;
        if uses_input && !self.training {
            self.description.check_evaluation(shape, reading)?;
        }
        Ok(Call { uses_input, batched: reading.batched, synchronized: self.is_synchronized() })
    }
}

impl Description {
    /// Evaluation by the input's own statistics needs more than one value for each.
    fn check_evaluation(&self, shape: &[usize], reading: Reading) -> Result<()> {
        let (values, per) = match self.recipe {
            Recipe::Batch(_) | Recipe::Conditional(_) | Recipe::Sandwich(_) => {
                (reading.samples.saturating_mul(reading.positions), "channel")
            }
            Recipe::Instance(_) if reading.samples > 0 => (reading.positions, "channel of each sample"),
            _ => return Ok(()),
        };
        if values != 1 || self.contents.shape.contains(&0) {
            return Ok(());
        }
        Err(Error::Shape {
            argument: "input",
            got: shape.to_vec(),
            expected: format!(
                "more than one value per {per}, since evaluation without running estimates (track_running_stats is \
                 false) uses the input's own statistics"
            ),
        })
    }
}
