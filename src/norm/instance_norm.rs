use super::{Norm, Operands, channels};
use crate::error::{Error, Result};
use crate::plan::{Cells, Momentum, ParameterMap, Plan, RunningUpdate, RunningVariance, Source, Statistic, View};
use crate::setters::setters;
use crate::tensor::{Axes, Layout};

/// Instance normalization (Ulyanov et al., [arXiv 1607.08022](https://arxiv.org/abs/1607.08022);
/// [`torch.nn.InstanceNorm2d`](https://docs.pytorch.org/docs/stable/generated/torch.nn.InstanceNorm2d.html)).
///
/// Statistics per sample and channel over the positions. Running estimates, where they are given,
/// follow the average over the samples, or take the place of the input's statistics when
/// `use_input_stats` is false.
///
/// # Shapes
///
/// `input` `[N, C, *]`, or `[N, *, C]` with [`Layout::ChannelsLast`], without `N` when `batched` is
/// false; `weight`, `bias`, `running_mean`, `running_var` `[C]`, each optional; weight and bias `[N, C]` for a
/// scale and shift of each sample (AdaIN, [arXiv 1703.06868](https://arxiv.org/abs/1703.06868)).
///
/// ```
/// use wgpu_norm::norm::{InstanceNorm, Norm, Operands};
/// use wgpu_norm::{Dtype, Spec};
///
/// let photo = Operands::new(Spec::new([3, 128, 128], Dtype::F32));
/// assert_eq!(InstanceNorm::new().batched(false).lower(&photo)?.view().statistics(), 3);
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceNorm {
    /// Whether the input's own statistics are used, rather than the running estimates.
    pub use_input_stats: bool,
    /// The share of the new value in the running estimates; PyTorch's default is 0.1.
    pub momentum: f64,
    /// Which variance the running one follows.
    pub running_variance: RunningVariance,
    /// Added to the variance; PyTorch's default is 1e-5.
    pub eps: f64,
    /// Whether the input has an axis of samples.
    pub batched: bool,
    /// Where the channels lie.
    pub layout: Layout,
}

impl InstanceNorm {
    /// PyTorch's defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            use_input_stats: true,
            momentum: 0.1,
            running_variance: RunningVariance::Unbiased,
            eps: 1e-5,
            batched: true,
            layout: Layout::ChannelsFirst,
        }
    }

    setters! {
        /// With or without the input's own statistics.
        use_input_stats(use_input_stats: bool) sets use_input_stats to use_input_stats;
        /// With another momentum.
        momentum(momentum: f64) sets momentum to momentum;
        /// With a running variance that follows the biased or the unbiased one.
        running_variance(running_variance: RunningVariance) sets running_variance to running_variance;
        /// With another eps.
        eps(eps: f64) sets eps to eps;
        /// With or without an axis of samples.
        batched(batched: bool) sets batched to batched;
        /// With channels elsewhere.
        layout(layout: Layout) sets layout to layout;
    }
}

impl InstanceNorm {
    /// The view whose groups are the channels of each sample, and which parameter belongs to which element, where
    /// there are those of the channels, or a row of these a sample.
    pub(super) fn parts(layout: Layout, axes: Axes, per_sample: bool) -> (View, ParameterMap, Cells) {
        let Axes { samples: n, channels: c, positions: s } = axes;
        let samples = if per_sample { n } else { 1 };
        let shared = ParameterMap::constant(samples.saturating_mul(c));
        let view = channels(layout, n, c, s);
        let map = match layout {
            Layout::ChannelsFirst => {
                ParameterMap { a_modulus: samples.saturating_mul(c).max(1), a_scale: 1, d_divisor: s.max(1), ..shared }
            }
            Layout::ChannelsLast => ParameterMap {
                a_modulus: samples.max(1),
                a_scale: if per_sample { c } else { 0 },
                c_scale: 1,
                d_divisor: 1,
                ..shared
            },
        };
        (view, map, Cells::groups(view))
    }
}

impl Default for InstanceNorm {
    fn default() -> Self {
        Self::new()
    }
}

impl Norm for InstanceNorm {
    fn lower(&self, operands: &Operands) -> Result<Plan> {
        operands.check_input()?;
        let shape = &operands.input.shape;
        let least = if self.batched { 3 } else { 2 };
        if shape.len() < least {
            let axes =
                if self.batched { "N, C and at least one of positions" } else { "C and at least one of positions" };
            return Err(Error::Shape { argument: "input", got: shape.clone(), expected: format!("axes {axes}") });
        }
        let axes = self.layout.axes(shape, self.batched)?;
        let (n, c, s) = (axes.samples, axes.channels, axes.positions);
        let momentum = super::check_momentum(self.momentum)?;
        let running = operands.running_of(c)?;
        let source = if self.use_input_stats {
            if s == 1 && n > 0 && c > 0 {
                return Err(Error::Shape {
                    argument: "input",
                    got: shape.clone(),
                    expected: "more than one position a channel when training".into(),
                });
            }
            let update = RunningUpdate {
                channels: c,
                momentum: Momentum::Fixed(momentum),
                counter: false,
                variance: self.running_variance,
            };
            Source::Input { running: running.map(|_| update) }
        } else if running.is_some() {
            Source::Running { channels: c }
        } else {
            return Err(Error::Missing {
                argument: "running_mean",
                reason: "use_input_stats is false, so running_mean and running_var are needed",
            });
        };
        let per_sample = self.batched && operands.is_per_sample(&[c], n);
        let (view, map, cells) = Self::parts(self.layout, axes, per_sample);
        let affine = operands.affine(&[c], self.batched.then_some(n), map, cells)?;
        operands.plan(view, Statistic::Centred, source, affine, self.eps)
    }
}
