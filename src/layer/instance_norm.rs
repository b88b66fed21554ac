use super::description::{Description, Recipe};
use super::options::{ParameterOptions, Tracking, common_setters, parameter_setters, tracking_setters};
use crate::error::{Error, Result};
use crate::norm;
use crate::setters::setters;

/// [`torch.nn.InstanceNorm1d`](https://docs.pytorch.org/docs/stable/generated/torch.nn.InstanceNorm1d.html):
/// input `[N, C, L]` or `[C, L]`.
pub type InstanceNorm1d = InstanceNorm<1>;
/// [`torch.nn.InstanceNorm2d`](https://docs.pytorch.org/docs/stable/generated/torch.nn.InstanceNorm2d.html):
/// input `[N, C, H, W]` or `[C, H, W]`.
pub type InstanceNorm2d = InstanceNorm<2>;
/// [`torch.nn.InstanceNorm3d`](https://docs.pytorch.org/docs/stable/generated/torch.nn.InstanceNorm3d.html):
/// input `[N, C, D, H, W]` or `[C, D, H, W]`.
pub type InstanceNorm3d = InstanceNorm<3>;

/// [`InstanceNorm1d`], [`InstanceNorm2d`], [`InstanceNorm3d`], to become a [`Layer`](super::Layer).
///
/// # Shapes
///
/// Input as each name says, with channels last on [`Layout::ChannelsLast`](crate::Layout::ChannelsLast); weight, bias
/// and running estimates `[C]`. Without any of these C may be another than `num_features`, as in PyTorch, which warns.
///
/// ```
/// use wgpu_norm::layer::{InstanceNorm1d, Layer};
/// use wgpu_norm::{Engine, Tensor};
///
/// let engine = Engine::new()?;
/// let mut plain = Layer::new(&engine, InstanceNorm1d::new(2))?;
/// assert!(plain.state_dict("")?.is_empty()); // neither parameters nor running estimates unless asked for
/// let one_sample = Tensor::from_f32([2, 2], vec![1.0, 3.0, 10.0, 30.0])?;
/// let y = plain.forward(&one_sample)?.data().to_f32();
/// assert!(y.iter().zip([-1.0, 1.0, -1.0, 1.0]).all(|(y, want)| (y - want).abs() < 1e-4));
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceNorm<const D: usize> {
    num_features: usize,
    tracking: Tracking,
    options: ParameterOptions,
}

impl<const D: usize> InstanceNorm<D> {
    /// PyTorch's defaults: no weight, no bias, no running estimates.
    #[must_use]
    pub fn new(num_features: usize) -> Self {
        let options = ParameterOptions { affine: false, ..ParameterOptions::new() };
        Self { num_features, tracking: Tracking::new(false), options }
    }

    tracking_setters!("`None` is 0, as in PyTorch: the estimates stay where they are.");
    parameter_setters!(affine);
}

impl<const D: usize> TryFrom<InstanceNorm<D>> for Description {
    type Error = Error;

    fn try_from(layer: InstanceNorm<D>) -> Result<Self> {
        let norm = norm::InstanceNorm {
            use_input_stats: true,
            momentum: layer.tracking.momentum.unwrap_or(0.0),
            running_variance: layer.tracking.variance,
            eps: layer.tracking.eps,
            batched: true,
            layout: layer.tracking.layout,
        };
        let (least, most) = (D.saturating_add(1), D.saturating_add(2));
        let (class, ranks) = (format!("InstanceNorm{D}d"), (least, Some(most)));
        let features = ("num_features", layer.num_features);
        layer.tracking.described(class, features, ranks, Some(least), &layer.options, Recipe::Instance(norm))
    }
}
