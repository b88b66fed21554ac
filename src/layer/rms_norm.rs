use super::description::{Description, Recipe};
use super::layer_norm::Extent;
use super::options::{ParameterOptions, check_eps, common_setters, parameter_setters};
use crate::error::{Error, Result};
use crate::norm;
use crate::setters::setters;

/// [`torch.nn.RMSNorm`](https://docs.pytorch.org/docs/stable/generated/torch.nn.RMSNorm.html), to become a
/// [`Layer`](super::Layer). It has no bias unless it is asked for one.
///
/// # Shapes
///
/// Input `[*, normalized_shape]`; weight (and bias) `normalized_shape`.
///
/// # Numerics
///
/// On a GPU squares are summed in f32, see [`norm::RmsNorm`].
///
/// ```
/// use wgpu_norm::layer::{Layer, RmsNorm};
/// use wgpu_norm::{Dtype, Engine, Tensor};
///
/// let gemma = RmsNorm::new([2]).eps(1e-6).zero_centred_weight(true).dtype(Dtype::Bf16);
/// let mut norm = Layer::new(&Engine::new()?, gemma)?;
/// assert_eq!(norm.get("weight")?.data().to_f32(), [0.0, 0.0]); // which stands for 1
/// let y = norm.forward(&Tensor::from_f32([1, 2], vec![3.0, 4.0])?)?;
/// assert!((y.data().to_f32()[1] - 4.0 / 12.5_f32.sqrt()).abs() < 1e-5);
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RmsNorm {
    extent: Extent,
    eps: Option<f64>,
    options: ParameterOptions,
}

impl RmsNorm {
    /// PyTorch's defaults, over the last axes, which must have these lengths.
    #[must_use]
    pub fn new(normalized_shape: impl Into<Vec<usize>>) -> Self {
        Self::with(Extent::last(normalized_shape.into()))
    }

    /// Over these axes, as [`LayerNorm::over_axes`](super::LayerNorm::over_axes).
    #[must_use]
    pub fn over_axes(axes: impl Into<Vec<isize>>, shape: impl Into<Vec<usize>>) -> Self {
        Self::with(Extent::axes(axes.into(), shape.into()))
    }

    fn with(extent: Extent) -> Self {
        Self { extent, eps: None, options: ParameterOptions { bias: false, ..ParameterOptions::new() } }
    }

    setters! {
        /// With another eps; `None` is 2⁻²³.
        eps(eps: impl Into<Option<f64>>) sets eps to eps.into();
    }
    parameter_setters!(elementwise_affine);
}

impl TryFrom<RmsNorm> for Description {
    type Error = Error;

    fn try_from(layer: RmsNorm) -> Result<Self> {
        let norm = norm::RmsNorm { axes: layer.extent.axes.clone(), eps: layer.eps.map(check_eps).transpose()? };
        layer.extent.described("RMSNorm", &layer.options, Recipe::Rms(norm))
    }
}
