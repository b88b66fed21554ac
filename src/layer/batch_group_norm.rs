use super::contents::Contents;
use super::description::{Description, Recipe};
use super::options::{ParameterOptions, Tracking, common_setters, parameter_setters, tracking_setters};
use crate::error::{Error, Result};
use crate::norm;
use crate::setters::setters;
use crate::tensor::Layout;

/// Batch group normalization (Zhou et al., [arXiv 2012.02782](https://arxiv.org/abs/2012.02782)), to become a
/// [`Layer`](super::Layer): statistics of equally long runs of channels and positions over all samples, as
/// [`norm::BatchGroupNorm`](crate::norm::BatchGroupNorm) has them.
///
/// # Shapes
///
/// Input `[N, C, *]`, or `[N, *, C]` with [`Layout::ChannelsLast`]; weight and bias `[C]`; running estimates
/// `[num_groups]`, one for each run.
///
/// # Errors
///
/// Where there are no groups, or channels that are last are not divisible among them, when the layer is made; where a
/// sample's values are not, when it is applied.
///
/// ```
/// use wgpu_norm::layer::{BatchGroupNorm, Layer};
/// use wgpu_norm::{Engine, Tensor};
///
/// let mut norm = Layer::new(&Engine::new()?, BatchGroupNorm::new(1, 2).momentum(1.0))?;
/// let y = norm.forward(&Tensor::from_f32([2, 2], vec![0.0, 1.0, 2.0, 3.0])?)?; // one group of everything
/// assert!((y.data().to_f32()[3] - 1.5 / 1.25_f32.sqrt()).abs() < 1e-4);
/// assert_eq!(norm.get("running_mean")?.data().to_f32(), [1.5]);
/// assert_eq!(norm.get("weight")?.shape(), [2]);
///
/// let error = norm.forward(&Tensor::zeros([2, 3], wgpu_norm::Dtype::F32)?).unwrap_err();
/// assert!(error.to_string().contains("match num_channels (2)"));
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct BatchGroupNorm {
    num_groups: usize,
    num_channels: usize,
    tracking: Tracking,
    options: ParameterOptions,
}

impl BatchGroupNorm {
    /// With this many groups; the defaults are those of [`BatchNorm`](super::BatchNorm).
    #[must_use]
    pub fn new(num_groups: usize, num_channels: usize) -> Self {
        Self { num_groups, num_channels, tracking: Tracking::new(true), options: ParameterOptions::new() }
    }

    tracking_setters!("`None` is the plain average over all batches.");
    parameter_setters!(affine);

    /// The number of groups. How many values a sample has is known only with the input, save where groups are whole
    /// channels.
    fn groups(&self) -> Result<usize> {
        let expected = match (self.num_groups, self.tracking.layout) {
            (0, _) => "at least 1".into(),
            (groups, Layout::ChannelsLast) if !self.num_channels.is_multiple_of(groups) => {
                format!("a divisor of {}: groups hold whole channels where these are last", self.num_channels)
            }
            (groups, _) => return Ok(groups),
        };
        Err(Error::Value { argument: "num_groups", got: self.num_groups.to_string(), expected })
    }
}

impl TryFrom<BatchGroupNorm> for Description {
    type Error = Error;

    fn try_from(layer: BatchGroupNorm) -> Result<Self> {
        let (groups, tracking) = (layer.groups()?, &layer.tracking);
        let channels = ("num_channels", layer.num_channels);
        let recipe = Recipe::BatchGroup(norm::BatchGroupNorm::new(groups).batch(tracking.batch_norm()));
        let all = tracking.described("BatchGroupNorm".into(), channels, (2, None), None, &layer.options, recipe)?;
        let contents = Contents { running: tracking.tracked("num_groups", groups), ..all.contents };
        Ok(Self { contents, ..all })
    }
}
