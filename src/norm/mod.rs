//! One file a normalization: its options, and how they lower to a plan.
//!
//! | norm | PyTorch | statistics over |
//! | --- | --- | --- |
//! | [`LayerNorm`] | `torch.nn.LayerNorm` | the last axes, or any set of axes |
//! | [`RmsNorm`] | `torch.nn.RMSNorm` | the same, about zero |
//! | [`GroupNorm`] | `torch.nn.GroupNorm` | neighbouring channels and all positions of a sample |
//! | [`InstanceNorm`] | `torch.nn.InstanceNorm1d/2d/3d` | the positions of one channel of a sample |
//! | [`BatchNorm`] | `torch.nn.BatchNorm1d/2d/3d` | all samples and positions of a channel |
//!
//! [`Fused`] adds an activation and two conventions of the weight to any of them; a residual among the [`Operands`]
//! is added before; a weight and a bias with a row for each sample scale and shift each sample by its own.

mod batch_norm;
mod fused;
mod group_norm;
mod instance_norm;
mod layer_norm;
mod reduced_axes;
mod rms_norm;

pub use batch_norm::BatchNorm;
pub use fused::Fused;
pub use group_norm::GroupNorm;
pub use instance_norm::InstanceNorm;
pub use layer_norm::LayerNorm;
pub use reduced_axes::ReducedAxes;
pub use rms_norm::RmsNorm;

use crate::error::{Error, Result};
use crate::plan::{Affine, Cells, ParameterMap, Plan, View};
use crate::tensor::{Layout, Spec, count};

/// A normalization's options.
pub trait Norm {
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
        Self { input, weight: None, bias: None, running: None, residual: None }
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

fn check_eps(eps: f64) -> Result<f64> {
    if eps.is_nan() {
        return Err(Error::Value { argument: "eps", got: "NaN".into(), expected: "a number".into() });
    }
    Ok(eps)
}

fn check_momentum(momentum: f64) -> Result<f64> {
    if momentum.is_nan() {
        return Err(Error::Value { argument: "momentum", got: "NaN".into(), expected: "a number".into() });
    }
    Ok(momentum)
}
