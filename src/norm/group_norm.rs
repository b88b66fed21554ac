use super::{Norm, Operands, channels};
use crate::error::{Error, Result};
use crate::plan::{Cells, Nesting, ParameterMap, Plan, Source, Statistic, StatisticMap, View};
use crate::setters::setters;
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
/// `input` `[N, C, *]`, or `[N, *, C]` with [`Layout::ChannelsLast`]; `weight` and `bias` `[C]`, or `[N, C]`
/// for a scale and shift of each sample, each optional.
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

    setters! {
        /// With another eps.
        eps(eps: f64) sets eps to eps;
        /// With channels elsewhere.
        layout(layout: Layout) sets layout to layout;
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
        let per_sample = operands.is_per_sample(&[c], n);
        let samples = if per_sample { n } else { 1 };
        let shared = ParameterMap::constant(samples.saturating_mul(c));
        let (view, map) = match self.layout {
            Layout::ChannelsFirst => (
                View::new(n.saturating_mul(g), 1, 1, per_group.saturating_mul(s)),
                ParameterMap {
                    a_modulus: samples.saturating_mul(g).max(1),
                    a_scale: if per_sample || g > 1 { per_group } else { 0 },
                    d_divisor: s.max(1),
                    ..shared
                },
            ),
            Layout::ChannelsLast => (
                View::new(n, s, g, per_group),
                ParameterMap {
                    a_modulus: samples.max(1),
                    a_scale: if per_sample { c } else { 0 },
                    c_scale: per_group,
                    d_divisor: 1,
                    ..shared
                },
            ),
        };
        let cells = if s == 1 {
            // A channel's one value is part of its group: its parameter's gradient comes from other groups.
            let map = StatisticMap { c_divisor: per_group.max(1), c_scale: 1, ..StatisticMap::NONE };
            if per_sample {
                let map = StatisticMap { a_scale: g, ..map };
                Cells { view: View::new(n, 1, c, 1), nesting: Nesting::Across(map) }
            } else {
                let map = StatisticMap { b_scale: g, ..map };
                Cells { view: View::new(1, n, c, 1), nesting: Nesting::Across(map) }
            }
        } else {
            Cells { view: channels(self.layout, n, c, s), nesting: Nesting::Neighbours(per_group) }
        };
        let affine = operands.affine(&[c], Some(n), map, cells)?;
        operands.plan(view, Statistic::Centred, Source::Input { running: None }, affine, self.eps)
    }
}
