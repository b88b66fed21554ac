use super::positional_norm::moments_shape;
use super::{Norm, Operands};
use crate::error::Result;
use crate::plan::{Cells, Nesting, ParameterMap, Plan, Source, Statistic, StatisticMap, View};
use crate::setters::setters;
use crate::tensor::{Axes, Layout};

/// The moment shortcut (Li et al., [arXiv 1907.04312](https://arxiv.org/abs/1907.04312)): `x * weight + bias` with one
/// factor and one summand a position, the deviation and the mean that a [`PositionalNorm`](super::PositionalNorm)
/// took away elsewhere in the network. Nothing is normalized.
///
/// Where the shortcut leads to another resolution the caller resizes both first.
///
/// # Shapes
///
/// `input` `[N, C, *]`, or `[N, *, C]` with [`Layout::ChannelsLast`]; `weight` (gamma) and `bias` (beta) `[N, 1, *]`, or
/// `[N, *, 1]`, each optional.
///
/// ```
/// use wgpu_norm::norm::MomentShortcut;
/// use wgpu_norm::{Engine, Parameters, Tensor};
///
/// let (x, gamma) = (Tensor::from_f32([1, 2, 2], vec![1.0, 2.0, 3.0, 4.0])?, Tensor::from_f32([1, 1, 2], vec![10.0, 1.0])?);
/// let mut parameters = Parameters { weight: Some(&gamma), ..Parameters::default() };
/// let y = Engine::new()?.forward(&MomentShortcut::new(), &x, &mut parameters)?;
/// assert_eq!(y.data().to_f32(), [10.0, 2.0, 30.0, 4.0]);
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MomentShortcut {
    /// Where the channels lie.
    pub layout: Layout,
}

impl MomentShortcut {
    /// With channels first.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        /// With channels elsewhere.
        layout(layout: Layout) sets layout to layout;
    }
}

impl Norm for MomentShortcut {
    fn lower(&self, operands: &Operands) -> Result<Plan> {
        let Axes { samples: n, channels: c, positions: s } = operands.axes(self.layout)?;
        operands.no_running()?;
        let places = n.saturating_mul(s);
        let constant = ParameterMap::constant(places);
        let (view, map, cells) = match self.layout {
            Layout::ChannelsFirst => {
                let map = ParameterMap { a_modulus: n.max(1), a_scale: s, d_divisor: 1, ..constant };
                let groups = StatisticMap { a_scale: 1, ..StatisticMap::NONE };
                let cells = Cells { view: View::new(n, c, s, 1), nesting: Nesting::Across(groups) };
                (View::new(n, c, 1, s), map, cells)
            }
            Layout::ChannelsLast => {
                let view = View::new(places, 1, 1, c);
                (view, ParameterMap { a_modulus: places.max(1), a_scale: 1, ..constant }, Cells::groups(view))
            }
        };
        let affine = operands.affine(&moments_shape(self.layout, &operands.input.shape), None, map, cells)?;
        operands.plan(view, Statistic::Uncentred, Source::Nothing, affine, 0.0)
    }
}
