use super::{Norm, Operands, ReducedAxes};
use crate::error::Result;
use crate::plan::{Plan, Statistic};
use crate::setters::setters;

/// Layer normalization (Ba et al., [arXiv 1607.06450](https://arxiv.org/abs/1607.06450);
/// [`torch.nn.LayerNorm`](https://docs.pytorch.org/docs/stable/generated/torch.nn.LayerNorm.html)).
///
/// ```text
/// y = (x - mean) / sqrt(var + eps) * weight + bias        var biased
/// ```
///
/// # Shapes
///
/// `input` `[*, normalized_shape]`; `weight` and `bias` `normalized_shape`, each optional, or `[N, normalized_shape]`
/// for a scale and shift of each of the N samples of the first axis (adaptive layer normalization). With
/// [`over_axes`](Self::over_axes) any axes that collapse to keep, reduce, keep, reduce: the
/// channels of `[N, C, H, W]`, say, without a permute.
///
/// ```
/// use wgpu_norm::norm::{LayerNorm, Norm, Operands};
/// use wgpu_norm::{Dtype, Spec};
///
/// let tokens = Operands::new(Spec::new([4, 20, 384], Dtype::F32));
/// assert_eq!(LayerNorm::new([384]).lower(&tokens)?.view().statistics(), 80);
///
/// let image = Operands::new(Spec::new([2, 64, 8, 8], Dtype::F32));
/// assert_eq!(LayerNorm::over_axes([1]).lower(&image)?.view().statistics(), 2 * 8 * 8);
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNorm {
    /// The axes that share a statistic.
    pub axes: ReducedAxes,
    /// Added to the variance; PyTorch's default is 1e-5.
    pub eps: f64,
}

impl LayerNorm {
    /// Over the last axes, which must have these lengths.
    #[must_use]
    pub fn new(normalized_shape: impl Into<Vec<usize>>) -> Self {
        Self { axes: ReducedAxes::Last(normalized_shape.into()), eps: 1e-5 }
    }

    /// Over these axes; a negative one counts from the end.
    #[must_use]
    pub fn over_axes(axes: impl Into<Vec<isize>>) -> Self {
        Self { axes: ReducedAxes::Axes(axes.into()), eps: 1e-5 }
    }

    setters! {
        /// With another eps.
        eps(eps: f64) sets eps to eps;
    }
}

impl Norm for LayerNorm {
    fn lower(&self, operands: &Operands) -> Result<Plan> {
        self.axes.lower(operands, Statistic::Centred, self.eps)
    }
}
