use super::description::{Description, Recipe};
use super::options::{ParameterOptions, Tracking, common_setters, parameter_setters, tracking_setters};
use crate::error::{Error, Result};
use crate::setters::setters;

/// [`torch.nn.BatchNorm1d`](https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm1d.html):
/// input `[N, C]` or `[N, C, L]`.
pub type BatchNorm1d = BatchNorm<1>;
/// [`torch.nn.BatchNorm2d`](https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html):
/// input `[N, C, H, W]`.
pub type BatchNorm2d = BatchNorm<2>;
/// [`torch.nn.BatchNorm3d`](https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm3d.html):
/// input `[N, C, D, H, W]`.
pub type BatchNorm3d = BatchNorm<3>;

/// [`BatchNorm1d`], [`BatchNorm2d`], [`BatchNorm3d`], to become a [`Layer`](super::Layer).
///
/// In training the running estimates move towards the batch's mean and **unbiased** variance, while the batch is
/// normalized with its biased one: training and evaluation differ by that too.
///
/// # Shapes
///
/// Input as each name says, with channels last on [`Layout::ChannelsLast`](crate::Layout::ChannelsLast); weight, bias
/// and running estimates `[C]`.
///
/// ```
/// use wgpu_norm::layer::{BatchNorm1d, Layer};
/// use wgpu_norm::{Engine, Tensor};
///
/// let mut norm = Layer::new(&Engine::new()?, BatchNorm1d::new(2).momentum(None))?;
/// for batch in [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]] {
///     norm.forward(&Tensor::from_f32([2, 2], batch.to_vec())?)?;
/// }
/// assert!((norm.get("running_mean")?.data().to_f32()[0] - 3.0).abs() < 1e-5); // the average over both batches
/// assert_eq!(norm.num_batches_tracked()?, Some(2));
///
/// let error = norm.forward(&Tensor::zeros([2, 2, 3, 3], wgpu_norm::Dtype::F32)?).unwrap_err();
/// assert!(error.to_string().contains("expected 2D or 3D input (got 4D input)"));
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm<const D: usize> {
    num_features: usize,
    tracking: Tracking,
    options: ParameterOptions,
}

impl<const D: usize> BatchNorm<D> {
    /// PyTorch's defaults: a weight, a bias, and running estimates that follow by a tenth.
    #[must_use]
    pub fn new(num_features: usize) -> Self {
        Self { num_features, tracking: Tracking::new(true), options: ParameterOptions::new() }
    }

    tracking_setters!("`None` is the plain average over all batches.");
    parameter_setters!(affine);
}

impl<const D: usize> TryFrom<BatchNorm<D>> for Description {
    type Error = Error;

    fn try_from(layer: BatchNorm<D>) -> Result<Self> {
        let most = D.saturating_add(2);
        let ranks = if D == 1 { (2, Some(3)) } else { (most, Some(most)) };
        let class = format!("BatchNorm{D}d");
        let (features, recipe) = (("num_features", layer.num_features), Recipe::Batch(layer.tracking.batch_norm()));
        layer.tracking.described(class, features, ranks, None, &layer.options, recipe)
    }
}
