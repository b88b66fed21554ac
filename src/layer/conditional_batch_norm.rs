use super::contents::Contents;
use super::description::{Description, Recipe};
use super::options::{ParameterOptions, Tracking, check_classes, common_setters, tracking_setters};
use crate::error::{Error, Result};
use crate::setters::setters;

/// Conditional batch normalization (de Vries et al., [arXiv 1707.00683](https://arxiv.org/abs/1707.00683); Miyato &
/// Koyama, [arXiv 1802.05637](https://arxiv.org/abs/1802.05637)), to become a [`Layer`](super::Layer): as
/// [`BatchNorm`](super::BatchNorm), with a weight and a bias for each class.
///
/// The [labels](super::Input::labels) of a call say which class a sample belongs to. There is one set of running
/// estimates for all classes.
///
/// # Shapes
///
/// Input `[N, C, *]`, or `[N, *, C]` with [`Layout::ChannelsLast`](crate::Layout::ChannelsLast); labels `[N]`, classes
/// from 0 on; weight and bias `[num_classes, C]`; running estimates `[C]`.
///
/// # Errors
///
/// Where there are no classes, or neither weight nor bias, when the layer is made; where labels are missing, too many
/// or too few, or name a class that is not there, when it is applied.
///
/// ```
/// use wgpu_norm::layer::{ConditionalBatchNorm, Input, Layer};
/// use wgpu_norm::{Engine, Tensor};
///
/// let mut norm = Layer::new(&Engine::new()?, ConditionalBatchNorm::new(1, 3))?;
/// norm.set("weight", Tensor::from_f32([3, 1], vec![1.0, 10.0, 100.0])?)?;
/// let x = Tensor::from_f32([2, 1], vec![1.0, 3.0])?; // normalized -1 and 1
/// let forward = norm.forward_saving(Input::new(&x).labels(&[2, 1]))?;
/// let y = forward.output.data().to_f32();
/// assert!((y[0] + 100.0).abs() < 0.01 && (y[1] - 10.0).abs() < 0.01);
///
/// let gradients = norm.backward(&x, &x, &forward, None)?; // by the same labels
/// assert_eq!(gradients.bias.expect("there is a bias").data().to_f32(), [0.0, 3.0, 1.0]);
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ConditionalBatchNorm {
    num_features: usize,
    num_classes: usize,
    tracking: Tracking,
    options: ParameterOptions,
}

impl ConditionalBatchNorm {
    /// With tables of so many classes, weights 1 and biases 0; the defaults are those of
    /// [`BatchNorm`](super::BatchNorm).
    #[must_use]
    pub fn new(num_features: usize, num_classes: usize) -> Self {
        Self { num_features, num_classes, tracking: Tracking::new(true), options: ParameterOptions::new() }
    }

    tracking_setters!("`None` is the plain average over all batches.");
    common_setters!("as long as weight or bias is there");
    setters! {
        /// With weights that are stored as their distance from 1, so that they begin with zeros.
        zero_centred_weight(zero_centred: bool) sets options.epilogue.zero_centred_weight to zero_centred;
    }
}

impl TryFrom<ConditionalBatchNorm> for Description {
    type Error = Error;

    fn try_from(layer: ConditionalBatchNorm) -> Result<Self> {
        let classes = check_classes(layer.num_classes)?;
        if !layer.options.weight && !layer.options.bias {
            let reason = "weight, bias or both are tables with a row for each class";
            return Err(Error::Missing { argument: "weight", reason });
        }
        let (features, tracking) = (("num_features", layer.num_features), &layer.tracking);
        let recipe = Recipe::Conditional(tracking.batch_norm());
        let class = "ConditionalBatchNorm".into();
        let all = tracking.described(class, features, (2, None), None, &layer.options, recipe)?;
        let shape = vec![classes, layer.num_features];
        Ok(Self { contents: Contents { argument: "num_classes", shape, ..all.contents }, ..all })
    }
}
