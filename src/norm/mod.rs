//! One file a normalization: its options, and how they lower to a plan.
//!
//! | norm | PyTorch | statistics over |
//! | --- | --- | --- |
//! | [`LayerNorm`] | `torch.nn.LayerNorm` | the last axes, or any set of axes |
//! | [`RmsNorm`] | `torch.nn.RMSNorm` | the same, about zero |
//! | [`GroupNorm`] | `torch.nn.GroupNorm` | neighbouring channels and all positions of a sample |
//! | [`InstanceNorm`] | `torch.nn.InstanceNorm1d/2d/3d` | the positions of one channel of a sample |
//! | [`BatchNorm`] | `torch.nn.BatchNorm1d/2d/3d` | all samples and positions of a channel |
//! | [`SyncBatchNorm`] | `torch.nn.SyncBatchNorm` | as batch, over the ranks of a [group](crate::collective) |
//! | [`BatchGroupNorm`] | [arXiv 2012.02782](https://arxiv.org/abs/2012.02782) | all samples of a run of channels and positions |
//! | [`PositionalNorm`] | [arXiv 1907.04312](https://arxiv.org/abs/1907.04312) | the channels at one position of a sample |
//! | [`SwitchableNorm`] | [arXiv 1806.10779](https://arxiv.org/abs/1806.10779) | a learned mixture of instance, layer and batch |
//! | [`ConditionalBatchNorm`] | [arXiv 1707.00683](https://arxiv.org/abs/1707.00683) | as batch, with weight and bias of each sample's class |
//! | [`SandwichBatchNorm`] | [arXiv 2102.11382](https://arxiv.org/abs/2102.11382) | as batch, with shared weight and bias, then those of the class |
//! | [`FilterResponseNorm`] | [arXiv 1911.09737](https://arxiv.org/abs/1911.09737) | as instance, about zero, with a threshold |
//!
//! [`MomentShortcut`] puts mean and deviation back that a [`PositionalNorm`] took away.
//!
//! [`Fused`] adds an activation and two conventions of the weight to any of them; a residual among the [`Operands`]
//! is added before; a weight and a bias with a row for each sample scale and shift each sample by its own.

mod batch_group_norm;
mod batch_norm;
mod conditional_batch_norm;
mod filter_response_norm;
mod fused;
mod group_norm;
mod instance_norm;
mod layer_norm;
mod moment_shortcut;
mod positional_norm;
mod reduced_axes;
mod rms_norm;
mod sandwich_batch_norm;
mod switchable_norm;
mod sync_batch_norm;

pub use batch_group_norm::BatchGroupNorm;
pub use batch_norm::BatchNorm;
pub use conditional_batch_norm::ConditionalBatchNorm;
pub use filter_response_norm::FilterResponseNorm;
pub use fused::Fused;
pub use group_norm::GroupNorm;
pub use instance_norm::InstanceNorm;
pub use layer_norm::LayerNorm;
pub use moment_shortcut::MomentShortcut;
pub use positional_norm::PositionalNorm;
pub use reduced_axes::ReducedAxes;
pub use rms_norm::RmsNorm;
pub use sandwich_batch_norm::SandwichBatchNorm;
pub use switchable_norm::SwitchableNorm;
pub use sync_batch_norm::SyncBatchNorm;

use crate::error::{Error, Result};
use crate::plan::{Affine, Cells, Epilogue, Extra, ParameterMap, Plan, Sharing, Source, Statistic, View};
use crate::tensor::{Axes, Dtype, Layout, Spec, count};

/// A normalization's options. Those of this crate implement it, and what wraps one, as [`Fused`] does: a [`Plan`] comes from
/// them alone.
pub trait Norm: Send + Sync {
    /// Whose the statistics of an input are.
    fn sharing(&self) -> Sharing {
        Sharing::Own
    }

    /// The plan for these operands.
    ///
    /// # Errors
    ///
    /// When an option makes no sense or an operand does not fit; the error names it, what it was
    /// and what was expected.
    fn lower(&self, operands: &Operands) -> Result<Plan>;
}

/// The tensors that a normalization is applied to, without their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operands {
    /// The tensor to normalize.
    pub input: Spec,
    /// The factor after the normalization.
    pub weight: Option<Spec>,
    /// The summand after the factor.
    pub bias: Option<Spec>,
    /// The lengths of `running_mean` and `running_var` (always stored as f32).
    pub running: Option<Running>,
    /// What is added to the input before it is normalized, of its shape and type.
    pub residual: Option<Spec>,
    /// What only some normalizations learn.
    pub extra: Extra<Option<Spec>>,
    /// How many samples have a label, where labels pick from tables.
    pub labels: Option<usize>,
}

/// The lengths of the running estimates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Elements of `running_mean`.
    pub mean: usize,
    /// Elements of `running_var`.
    pub var: usize,
    /// Whether there is a `num_batches_tracked`.
    pub counter: bool,
}

impl Operands {
    /// An input alone.
    #[must_use]
    pub fn new(input: Spec) -> Self {
        Self { input, weight: None, bias: None, running: None, residual: None, extra: Extra::default(), labels: None }
    }

    /// With a weight.
    #[must_use]
    pub fn weight(mut self, weight: Spec) -> Self {
        self.weight = Some(weight);
        self
    }

    /// With a bias.
    #[must_use]
    pub fn bias(mut self, bias: Spec) -> Self {
        self.bias = Some(bias);
        self
    }

    /// With running estimates of `channels` elements each.
    #[must_use]
    pub fn running(mut self, channels: usize, counter: bool) -> Self {
        self.running = Some(Running { mean: channels, var: channels, counter });
        self
    }

    /// With a residual, which is added to the input before it is normalized.
    #[must_use]
    pub fn residual(mut self, residual: Spec) -> Self {
        self.residual = Some(residual);
        self
    }

    /// With what only some normalizations learn.
    #[must_use]
    pub fn extra(mut self, extra: Extra<Option<Spec>>) -> Self {
        self.extra = extra;
        self
    }

    /// With labels for so many samples.
    #[must_use]
    pub fn labels(mut self, samples: usize) -> Self {
        self.labels = Some(samples);
        self
    }

    fn check_input(&self) -> Result<()> {
        count("input", &self.input.shape, self.input.dtype)?;
        match &self.residual {
            Some(residual) if residual.shape != self.input.shape => Err(Error::Shape {
                argument: "residual",
                got: residual.shape.clone(),
                expected: format!("shape {:?}, that of input", self.input.shape),
            }),
            Some(residual) if residual.dtype != self.input.dtype => Err(Error::Dtype {
                argument: "residual",
                got: residual.dtype,
                expected: format!("{}, the type of input", self.input.dtype),
            }),
            _ => Ok(()),
        }
    }

    /// Whether weight and bias have a row of their own for each sample: `samples` of `shape`.
    fn is_per_sample(&self, shape: &[usize], samples: usize) -> bool {
        [&self.weight, &self.bias].into_iter().flatten().any(|p| p.shape.split_first() == Some((&samples, shape)))
    }

    /// Checks weight and bias against the shapes that they may have: `shape`, or a row of that for each sample.
    fn affine(&self, shape: &[usize], samples: Option<usize>, map: ParameterMap, cells: Cells) -> Result<Affine> {
        let rows: Option<Vec<usize>> = samples.map(|n| [&[n], shape].concat());
        let wanted = rows.as_deref().filter(|_| samples.is_some_and(|n| self.is_per_sample(shape, n)));
        let wanted = wanted.unwrap_or(shape);
        let check = |argument, parameter: &Option<Spec>| match parameter {
            Some(p) if p.shape != wanted => {
                let other = rows.as_ref().map(|rows| format!(", or {rows:?} for one a sample, weight and bias alike"));
                Err(Error::Shape {
                    argument,
                    got: p.shape.clone(),
                    expected: format!(
                        "shape {shape:?} for input of shape {:?}{}",
                        self.input.shape,
                        other.unwrap_or_default()
                    ),
                })
            }
            other => Ok(other.as_ref().map(|p| p.dtype)),
        };
        let affine = Affine { weight: check("weight", &self.weight)?, bias: check("bias", &self.bias)?, map, cells };
        match (affine.weight, affine.bias) {
            (Some(weight), Some(bias)) if weight != bias => {
                Err(Error::Dtype { argument: "bias", got: bias, expected: format!("{weight}, the type of weight") })
            }
            _ => Ok(affine),
        }
    }

    /// Checks that there are no labels.
    fn no_labels(&self) -> Result<()> {
        let reason = "this normalization has no tables of classes";
        self.labels.map_or(Ok(()), |_| Err(Error::Unexpected { argument: "labels", reason }))
    }

    /// Checks the input, and reads its samples, channels and positions.
    fn axes(&self, layout: Layout) -> Result<Axes> {
        self.check_input()?;
        let shape = &self.input.shape;
        if shape.len() < 2 {
            let expected = "at least the axes N and C".into();
            return Err(Error::Shape { argument: "input", got: shape.clone(), expected });
        }
        layout.axes(shape, true)
    }

    /// The plan of a normalization that learns nothing but weight and bias.
    fn plan(&self, view: View, statistic: Statistic, source: Source, affine: Affine, eps: f64) -> Result<Plan> {
        self.no_labels()?;
        self.extra_types(Extra::default())?;
        self.unchecked_plan(view, statistic, source, affine, eps)
    }

    /// As [`plan`](Self::plan), where the caller has checked labels and what else is learned.
    fn unchecked_plan(
        &self,
        view: View,
        statistic: Statistic,
        source: Source,
        affine: Affine,
        eps: f64,
    ) -> Result<Plan> {
        Ok(Plan {
            dtype: self.input.dtype,
            view,
            statistic,
            source,
            affine,
            eps: check_eps(eps)?,
            epilogue: Epilogue::default(),
            residual: self.residual.is_some(),
            derivation: None,
            extra: Extra::default(),
            sharing: Sharing::Own,
        })
    }

    /// The storage types of what only some normalizations learn; `wanted` are the shapes of what this one does.
    fn extra_types(&self, wanted: Extra<Option<Vec<usize>>>) -> Result<Extra<Option<Dtype>>> {
        for (argument, (spec, shape)) in self.extra.as_ref().zip(wanted).named() {
            match (spec, shape) {
                (None, _) => {}
                (Some(_), None) => {
                    let reason = "this normalization has no such parameter";
                    return Err(Error::Unexpected { argument, reason });
                }
                (Some(spec), Some(shape)) if spec.shape != shape => {
                    return Err(Error::Shape {
                        argument,
                        got: spec.shape.clone(),
                        expected: format!("shape {shape:?} for input of shape {:?}", self.input.shape),
                    });
                }
                (Some(_), Some(_)) => {}
            }
        }
        Ok(self.extra.as_ref().map(|spec| spec.as_ref().map(|spec| spec.dtype)))
    }

    fn no_running(&self) -> Result<()> {
        match self.running {
            Some(_) => Err(Error::Unexpected {
                argument: "running_mean",
                reason: "this normalization keeps no running estimates",
            }),
            None => Ok(()),
        }
    }

    /// Checks the running estimates' lengths against the number of channels.
    fn running_of(&self, channels: usize) -> Result<Option<Running>> {
        let Some(running) = self.running else { return Ok(None) };
        for (argument, len) in [("running_mean", running.mean), ("running_var", running.var)] {
            if len != channels {
                return Err(Error::Shape {
                    argument,
                    got: vec![len],
                    expected: format!("shape [{channels}], the channels of input of shape {:?}", self.input.shape),
                });
            }
        }
        Ok(Some(running))
    }
}

/// The view whose groups are the channels of each sample.
fn channels(layout: Layout, samples: usize, channels: usize, positions: usize) -> View {
    match layout {
        Layout::ChannelsFirst => View::new(samples.saturating_mul(channels), 1, 1, positions),
        Layout::ChannelsLast => View::new(samples, positions, channels, 1),
    }
}

pub(crate) fn check_eps(eps: f64) -> Result<f64> {
    if eps.is_nan() {
        return Err(Error::Value { argument: "eps", got: "NaN".into(), expected: "a number".into() });
    }
    Ok(eps)
}

pub(crate) fn check_momentum(momentum: f64) -> Result<f64> {
    if momentum.is_nan() {
        return Err(Error::Value { argument: "momentum", got: "NaN".into(), expected: "a number".into() });
    }
    Ok(momentum)
}
