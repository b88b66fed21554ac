use super::{Norm, Operands};
use crate::error::{Error, Result};
use crate::plan::{ParameterMap, Plan, Source, Statistic, View};
use crate::tensor::Layout;

/// Group normalization (Wu & He, [arXiv 1803.08494](https://arxiv.org/abs/1803.08494);
/// [`torch.nn.GroupNorm`](https://docs.pytorch.org/docs/stable/generated/torch.nn.GroupNorm.html)).
///
/// Statistics per sample over `C / num_groups` neighbouring channels and all positions.
///
/// A group of one value is its bias. (PyTorch refuses that for a single sample, and takes it for several.)
///
/// # Shapes
///
/// `input` `[N, C, *]`, or `[N, *, C]` with [`Layout::ChannelsLast`]; `weight` and `bias` `[C]`,
/// each optional.
///
/// ```
/// use wgpu_norm::norm::{GroupNorm, Norm, Operands};
/// use wgpu_norm::{Dtype, Spec};
///
/// let operands = Operands::new(Spec::new([2, 320, 64, 64], Dtype::F16));
/// assert_eq!(GroupNorm::new(32).lower(&operands)?.view().statistics(), 2 * 32);
/// assert!(GroupNorm::new(33).lower(&operands).is_err());
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct GroupNorm {
    /// Groups that the channels are cut into.
    pub num_groups: usize,
    /// Added to the variance; PyTorch's default is 1e-5.
    pub eps: f64,
    /// Where the channels lie.
    pub layout: Layout,
}

impl GroupNorm {
    /// With this many groups.
    #[must_use]
    pub fn new(num_groups: usize) -> Self {
        Self { num_groups, eps: 1e-5, layout: Layout::ChannelsFirst }
    }

    /// With another eps.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// With channels elsewhere.
    #[must_use]
    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }
}

impl Norm for GroupNorm {
    fn lower(&self, operands: &Operands) -> Result<Plan> {
        operands.check_input()?;
        operands.no_running()?;
        let axes = self.layout.axes(&operands.input.shape, true)?;
        let (n, c, s, g) = (axes.samples, axes.channels, axes.positions, self.num_groups);
        if g == 0 || c % g != 0 {
            return Err(Error::Value {
                argument: "num_groups",
                got: g.to_string(),
                expected: format!("a divisor of {c}, the channels of input of shape {:?}", operands.input.shape),
            });
        }
        let per_group = c / g;
        let (view, map) = match self.layout {
            Layout::ChannelsFirst => (
                View::new(n.saturating_mul(g), 1, 1, per_group.saturating_mul(s)),
                ParameterMap { len: c, a_modulus: g, a_scale: per_group, b_scale: 0, c_scale: 0, d_divisor: s.max(1) },
            ),
            Layout::ChannelsLast => (
                View::new(n, s, g, per_group),
                ParameterMap { len: c, a_modulus: 1, a_scale: 0, b_scale: 0, c_scale: per_group, d_divisor: 1 },
            ),
        };
        Ok(Plan {
            dtype: operands.input.dtype,
            view,
            statistic: Statistic::Centred,
            source: Source::Input { running: None },
            affine: operands.affine(&[c], map)?,
            eps: super::check_eps(self.eps)?,
        })
    }
}
