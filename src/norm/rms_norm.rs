use super::{Norm, Operands, ReducedAxes};
use crate::error::Result;
use crate::plan::{Plan, Statistic};
use crate::setters::setters;

/// Root mean square normalization (Zhang & Sennrich,
/// [arXiv 1910.07467](https://arxiv.org/abs/1910.07467);
/// [`torch.nn.RMSNorm`](https://docs.pytorch.org/docs/stable/generated/torch.nn.RMSNorm.html)).
///
/// ```text
/// y = x / sqrt(mean(x²) + eps) * weight + bias
/// ```
///
/// PyTorch's layer has no bias; give none for its semantics.
///
/// # Shapes
///
/// As [`LayerNorm`](super::LayerNorm).
///
/// # Numerics
///
/// On a GPU squares are summed in f32, as in PyTorch: a group whose squares add up to more than 3.4e38 overflows, be it one element
/// beyond 1.8e19 or a thousand of 1e18. The CPU backend takes f64 there.
///
/// ```
/// use wgpu_norm::norm::{Norm, Operands, RmsNorm};
/// use wgpu_norm::{Dtype, Spec};
///
/// let plan = RmsNorm::new([4096]).lower(&Operands::new(Spec::new([8, 4096], Dtype::F16)))?;
/// assert_eq!(plan.eps(), f64::from(f32::EPSILON));
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RmsNorm {
    /// The axes that share a statistic.
    pub axes: ReducedAxes,
    /// Added to the mean square. `None` is 2⁻²³ whatever the storage: PyTorch takes the epsilon of
    /// the type that it computes in.
    pub eps: Option<f64>,
}

impl RmsNorm {
    /// Over the last axes, which must have these lengths.
    #[must_use]
    pub fn new(normalized_shape: impl Into<Vec<usize>>) -> Self {
        Self { axes: ReducedAxes::Last(normalized_shape.into()), eps: None }
    }

    /// Over these axes; a negative one counts from the end.
    #[must_use]
    pub fn over_axes(axes: impl Into<Vec<isize>>) -> Self {
        Self { axes: ReducedAxes::Axes(axes.into()), eps: None }
    }

    setters! {
        /// With an eps of one's own.
        eps(eps: f64) sets eps to Some(eps);
    }
}

impl Norm for RmsNorm {
    fn lower(&self, operands: &Operands) -> Result<Plan> {
        self.axes.lower(operands, Statistic::Uncentred, self.eps.unwrap_or(f64::from(f32::EPSILON)))
    }
}
