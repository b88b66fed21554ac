use super::description::{Description, Recipe};
use super::input::InputRule;
use super::options::{ParameterOptions, check_eps, common_setters, parameter_setters};
use crate::error::{Error, Result};
use crate::norm::{self, ReducedAxes};
use crate::setters::setters;

/// [`torch.nn.LayerNorm`](https://docs.pytorch.org/docs/stable/generated/torch.nn.LayerNorm.html), to become a
/// [`Layer`](super::Layer).
///
/// # Shapes
///
/// Input `[*, normalized_shape]`; weight and bias `normalized_shape`.
///
/// ```
/// use wgpu_norm::layer::{Layer, LayerNorm};
/// use wgpu_norm::{Engine, Tensor};
///
/// let mut norm = Layer::new(&Engine::new()?, LayerNorm::new([3]).bias(false))?;
/// let y = norm.forward(&Tensor::from_f32([1, 3], vec![1.0, 2.0, 3.0])?)?;
/// assert!((y.data().to_f32()[2] - 1.224_74).abs() < 1e-4);
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNorm {
    extent: Extent,
    eps: f64,
    options: ParameterOptions,
}

impl LayerNorm {
    /// PyTorch's defaults, over the last axes, which must have these lengths.
    #[must_use]
    pub fn new(normalized_shape: impl Into<Vec<usize>>) -> Self {
        Self { extent: Extent::last(normalized_shape.into()), eps: 1e-5, options: ParameterOptions::new() }
    }

    /// Over these axes, a negative one counting from the end, with a weight and a bias of this shape: the axes'
    /// lengths in the order of the tensor. The channels of `[N, C, H, W]`, for instance, as ConvNeXt wants it.
    ///
    /// ```
    /// use wgpu_norm::layer::{Layer, LayerNorm};
    /// use wgpu_norm::{Engine, Tensor};
    ///
    /// let mut norm = Layer::new(&Engine::new()?, LayerNorm::over_axes([1], [2]))?;
    /// let y = norm.forward(&Tensor::from_f32([1, 2, 1, 2], vec![1.0, 5.0, 3.0, 1.0])?)?;
    /// assert!(y.data().to_f32().iter().zip([-1.0, 1.0, 1.0, -1.0]).all(|(y, want)| (y - want).abs() < 1e-4));
    /// # Ok::<(), wgpu_norm::Error>(())
    /// ```
    #[must_use]
    pub fn over_axes(axes: impl Into<Vec<isize>>, shape: impl Into<Vec<usize>>) -> Self {
        Self { extent: Extent::axes(axes.into(), shape.into()), eps: 1e-5, options: ParameterOptions::new() }
    }

    setters! {
        /// With another eps.
        eps(eps: f64) sets eps to eps;
    }
    parameter_setters!(elementwise_affine);
}

impl TryFrom<LayerNorm> for Description {
    type Error = Error;

    fn try_from(layer: LayerNorm) -> Result<Self> {
        let norm = norm::LayerNorm { axes: layer.extent.axes.clone(), eps: check_eps(layer.eps)? };
        layer.extent.described("LayerNorm", &layer.options, Recipe::Layer(norm))
    }
}

/// The axes that share a statistic, and their lengths.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Extent {
    pub(super) axes: ReducedAxes,
    shape: Vec<usize>,
}

impl Extent {
    pub(super) fn last(shape: Vec<usize>) -> Self {
        Self { axes: ReducedAxes::Last(shape.clone()), shape }
    }

    pub(super) fn axes(axes: Vec<isize>, shape: Vec<usize>) -> Self {
        Self { axes: ReducedAxes::Axes(axes), shape }
    }

    pub(super) fn described(self, class: &str, options: &ParameterOptions, recipe: Recipe) -> Result<Description> {
        let Self { axes, shape } = self;
        let argument = match axes {
            ReducedAxes::Last(_) => "normalized_shape",
            ReducedAxes::Axes(_) => "shape",
        };
        let expected = match axes {
            ReducedAxes::Last(_) if shape.is_empty() => Some("at least one axis".into()),
            ReducedAxes::Axes(axes) if axes.len() != shape.len() => Some(format!("a length for each of axes {axes:?}")),
            _ => None,
        };
        if let Some(expected) = expected {
            return Err(Error::Value { argument, got: format!("{shape:?}"), expected });
        }
        Ok(Description {
            class: class.into(),
            input: InputRule::Lowering,
            contents: options.contents(argument, shape),
            epilogue: options.epilogue,
            recipe,
            group: None,
        })
    }
}
