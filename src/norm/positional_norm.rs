use super::{Norm, Operands, ReducedAxes};
use crate::error::{Error, Result};
use crate::plan::{Plan, Statistic, Statistics};
use crate::setters::setters;
use crate::tensor::{Data, Layout, Spec, Tensor};

/// Positional normalization (Li et al., [arXiv 1907.04312](https://arxiv.org/abs/1907.04312)).
///
/// Statistics over the channels at each position of a sample, with the **unbiased** variance, as in the authors'
/// PyTorch code. There are no parameters: mean and deviation, which carry the picture's structure, are handed to a
/// later layer by [`MomentShortcut`](super::MomentShortcut).
///
/// # Shapes
///
/// `input` `[N, C, *]`, or `[N, *, C]` with [`Layout::ChannelsLast`], with two channels at least; [`moments`](Self::moments)
/// `[N, 1, *]`, or `[N, *, 1]`.
///
/// ```
/// use wgpu_norm::norm::{MomentShortcut, PositionalNorm};
/// use wgpu_norm::{Engine, Parameters, Tensor};
///
/// let (engine, norm) = (Engine::new()?, PositionalNorm::new());
/// let x = Tensor::from_f32([1, 2, 1], vec![3.0, 5.0])?;
/// let forward = engine.forward_saving(&norm, &x, &mut Parameters::default())?;
/// let (mean, std) = norm.moments(&x, &forward.statistics)?;
/// assert!((mean.data().to_f32()[0] - 4.0).abs() < 1e-6 && (std.data().to_f32()[0] - 2f32.sqrt()).abs() < 1e-4);
///
/// let mut parameters = Parameters { weight: Some(&std), bias: Some(&mean), ..Parameters::default() };
/// let back = engine.forward(&MomentShortcut::new(), &forward.output, &mut parameters)?;
/// assert!((back.data().to_f32()[1] - 5.0).abs() < 1e-5);
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PositionalNorm {
    /// Added to the variance; the authors' default is 1e-5.
    pub eps: f64,
    /// Where the channels lie.
    pub layout: Layout,
}

impl PositionalNorm {
    /// The authors' defaults.
    #[must_use]
    pub fn new() -> Self {
        Self { eps: 1e-5, layout: Layout::ChannelsFirst }
    }

    setters! {
        /// With another eps.
        eps(eps: f64) sets eps to eps;
        /// With channels elsewhere.
        layout(layout: Layout) sets layout to layout;
    }

    /// Shape and type of the means, and of the deviations, of an input.
    #[must_use]
    pub fn moments_spec(&self, input: &Spec) -> Spec {
        Spec::new(moments_shape(self.layout, &input.shape), input.dtype)
    }

    /// Mean and deviation `sqrt(var + eps)` at each position, in the input's type, from what a forward pass kept.
    ///
    /// # Errors
    ///
    /// When there are not as many statistics as the input has positions.
    pub fn moments(&self, input: &Tensor, statistics: &Statistics) -> Result<(Tensor, Tensor)> {
        let shape = moments_shape(self.layout, input.shape());
        let tensor = |values: &[f64]| Tensor::new(shape.clone(), Data::from_f64(input.dtype(), values));
        let std: Vec<f64> = statistics.rstd.iter().map(|rstd| 1.0 / rstd).collect();
        Ok((tensor(&statistics.mean)?, tensor(&std)?))
    }
}

/// The shape of one value a position.
pub(super) fn moments_shape(layout: Layout, input: &[usize]) -> Vec<usize> {
    let mut shape = input.to_vec();
    let axis = match layout {
        Layout::ChannelsFirst => shape.get_mut(1),
        Layout::ChannelsLast => shape.last_mut(),
    };
    if let Some(channels) = axis {
        *channels = 1;
    }
    shape
}

impl Default for PositionalNorm {
    fn default() -> Self {
        Self::new()
    }
}

impl Norm for PositionalNorm {
    fn lower(&self, operands: &Operands) -> Result<Plan> {
        let shape = &operands.input.shape;
        let axes = self.layout.axes(shape, true)?;
        for (argument, parameter) in [("weight", &operands.weight), ("bias", &operands.bias)] {
            if parameter.is_some() {
                return Err(Error::Unexpected { argument, reason: "positional normalization has no parameters" });
            }
        }
        if axes.channels < 2 {
            let expected = "two channels at least, whose unbiased variance is taken".into();
            return Err(Error::Shape { argument: "input", got: shape.clone(), expected });
        }
        let axis = match self.layout {
            Layout::ChannelsFirst => 1,
            Layout::ChannelsLast => -1,
        };
        ReducedAxes::Axes(vec![axis]).lower(operands, Statistic::Unbiased, self.eps)
    }
}
