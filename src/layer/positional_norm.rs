use super::description::{Description, Recipe};
use super::input::InputRule;
use super::options::{ParameterOptions, check_eps};
use crate::error::{Error, Result};
use crate::norm;
use crate::setters::setters;
use crate::tensor::Layout;

/// Positional normalization (Li et al., [arXiv 1907.04312](https://arxiv.org/abs/1907.04312)), to become a
/// [`Layer`](super::Layer): statistics over the channels at each position of a sample, with the unbiased variance.
///
/// It remembers nothing. [`Layer::moments`](super::Layer::moments) gives mean and deviation of a forward pass, for a
/// later [`MomentShortcut`](crate::norm::MomentShortcut).
///
/// # Shapes
///
/// Input `[N, C, *]`, or `[N, *, C]` with [`Layout::ChannelsLast`], of three axes and two channels at least.
///
/// # Errors
///
/// Where eps is no number, when the layer is made; where the input has fewer axes or channels, when it is applied.
///
/// ```
/// use wgpu_norm::layer::{Layer, PositionalNorm};
/// use wgpu_norm::norm::MomentShortcut;
/// use wgpu_norm::{Engine, Parameters, Tensor};
///
/// let engine = Engine::new()?;
/// let mut norm = Layer::new(&engine, PositionalNorm::new())?;
/// let forward = norm.forward_saving(&Tensor::from_f32([1, 2, 1], vec![3.0, 5.0])?)?;
/// let (mean, std) = norm.moments(&forward)?;
///
/// let mut parameters = Parameters { weight: Some(&std), bias: Some(&mean), ..Parameters::default() };
/// let back = engine.forward(&MomentShortcut::new(), &forward.output, &mut parameters)?;
/// assert!((back.data().to_f32()[1] - 5.0).abs() < 1e-5);
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PositionalNorm {
    eps: f64,
    layout: Layout,
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
}

impl Default for PositionalNorm {
    fn default() -> Self {
        Self::new()
    }
}

impl TryFrom<PositionalNorm> for Description {
    type Error = Error;

    fn try_from(layer: PositionalNorm) -> Result<Self> {
        let options = ParameterOptions { affine: false, ..ParameterOptions::new() };
        Ok(Self {
            class: "PositionalNorm".into(),
            input: InputRule::Axes(3),
            contents: options.contents("input", vec![]),
            epilogue: options.epilogue,
            recipe: Recipe::Positional(norm::PositionalNorm { eps: check_eps(layer.eps)?, layout: layer.layout }),
            group: None,
        })
    }
}
