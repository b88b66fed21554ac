use super::{InstanceNorm, Norm, Operands};
use crate::error::Result;
use crate::plan::{Derivation, Extra, Plan, Source, Statistic};
use crate::setters::setters;
use crate::tensor::{Axes, Layout};

/// Filter response normalization with its thresholded linear unit (Singh & Krishnan,
/// [arXiv 1911.09737](https://arxiv.org/abs/1911.09737)).
///
/// ```text
/// y = max(x / sqrt(mean(x²) + |eps| + |eps_l|) * weight[c] + bias[c], tau[c])
/// ```
///
/// The mean is over the positions of a sample's channel. Published implementations take a constant eps, or learn one
/// on top of it: the sum covers both (`eps` 0 for a single learned one). Without `tau` there is no threshold. The
/// gradient of an element goes to `tau` where it is not beyond it.
///
/// # Shapes
///
/// `input` `[N, C, *]`, or `[N, *, C]` with [`Layout::ChannelsLast`]; `weight`, `bias`, `tau` `[C]`, `eps_l` `[1]`, each
/// optional.
///
/// # Numerics
///
/// As [`RmsNorm`](super::RmsNorm): on a GPU squares are summed in f32.
///
/// ```
/// use wgpu_norm::norm::FilterResponseNorm;
/// use wgpu_norm::plan::Extra;
/// use wgpu_norm::{Engine, Parameters, Tensor};
///
/// let (x, tau) = (Tensor::from_f32([1, 1, 2], vec![3.0, -4.0])?, Tensor::from_f32([1], vec![0.5])?);
/// let extra = Extra { tau: Some(&tau), ..Extra::default() };
/// let mut parameters = Parameters { extra, ..Parameters::default() };
/// let y = Engine::new()?.forward(&FilterResponseNorm::new(), &x, &mut parameters)?.data().to_f32();
/// assert!((y[0] - 3.0 / 12.5_f32.sqrt()).abs() < 1e-6 && y[1] == 0.5);
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FilterResponseNorm {
    /// Added to the mean square, by its magnitude; the authors' default is 1e-6.
    pub eps: f64,
    /// Where the channels lie.
    pub layout: Layout,
}

impl FilterResponseNorm {
    /// The authors' defaults.
    #[must_use]
    pub fn new() -> Self {
        Self { eps: 1e-6, layout: Layout::ChannelsFirst }
    }

    setters! {
        /// With another eps.
        eps(eps: f64) sets eps to eps;
        /// With channels elsewhere.
        layout(layout: Layout) sets layout to layout;
    }
}

impl Default for FilterResponseNorm {
    fn default() -> Self {
        Self::new()
    }
}

impl Norm for FilterResponseNorm {
    fn lower(&self, operands: &Operands) -> Result<Plan> {
        let axes = operands.axes(self.layout)?;
        operands.no_running()?;
        operands.no_labels()?;
        let Axes { channels, .. } = axes;
        let wanted = Extra { tau: Some(vec![channels]), eps_l: Some(vec![1]), ..Extra::default() };
        let extra = operands.extra_types(wanted)?;
        let (view, map, cells) = InstanceNorm::parts(self.layout, axes, false);
        let affine = operands.affine(&[channels], None, map, cells)?;
        let source = Source::Input { running: None };
        let plan = operands.unchecked_plan(view, Statistic::Uncentred, source, affine, self.eps.abs())?;
        let derivation = Derivation { rows: 1, width: channels, repeat: 1, tables: None };
        Ok(Plan { derivation: extra.any().then_some(derivation), extra, ..plan })
    }
}
