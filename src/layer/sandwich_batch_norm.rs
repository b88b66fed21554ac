use super::contents::{Contents, Learned};
use super::description::{Description, Recipe};
use super::options::{ParameterOptions, Tracking, check_classes, common_setters, tracking_setters};
use crate::error::{Error, Result};
use crate::plan::Extra;
use crate::setters::setters;

/// Sandwich batch normalization (Gong et al., [arXiv 2102.11382](https://arxiv.org/abs/2102.11382)), to become a
/// [`Layer`](super::Layer): as [`BatchNorm`](super::BatchNorm) with weight and bias shared by all classes, followed by
/// those of each sample's class.
///
/// The [labels](super::Input::labels) of a call say which class a sample belongs to. There is one set of running
/// estimates for all classes, as in the authors' code for GANs.
///
/// # Shapes
///
/// Input `[N, C, *]`, or `[N, *, C]` with [`Layout::ChannelsLast`](crate::Layout::ChannelsLast); labels `[N]`, classes
/// from 0 on; `weight`, `bias` and running estimates `[C]`; `class_weight` and `class_bias` `[num_classes, C]`.
///
/// # Errors
///
/// Where there are no classes, or neither class weight nor class bias, when the layer is made; where labels are
/// missing, too many or too few, or name a class that is not there, when it is applied.
///
/// ```
/// use wgpu_norm::layer::{Input, Layer, SandwichBatchNorm};
/// use wgpu_norm::{Engine, Tensor};
///
/// let mut norm = Layer::new(&Engine::new()?, SandwichBatchNorm::new(1, 2))?;
/// norm.set("bias", Tensor::from_f32([1], vec![1.0])?)?;
/// norm.set("class_weight", Tensor::from_f32([2, 1], vec![5.0, 7.0])?)?;
/// let x = Tensor::from_f32([2, 1], vec![1.0, 3.0])?; // normalized -1 and 1
/// let forward = norm.forward_saving(Input::new(&x).labels(&[0, 1]))?;
/// let y = forward.output.data().to_f32();
/// assert!(y[0].abs() < 0.01 && (y[1] - 14.0).abs() < 0.01);
///
/// let gradients = norm.backward(&x, &x, &forward, None)?; // by the same labels
/// assert_eq!(gradients.extra.class_bias.expect("there is one").data().to_f32(), [1.0, 3.0]);
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SandwichBatchNorm {
    num_features: usize,
    num_classes: usize,
    class_weight: bool,
    class_bias: bool,
    tracking: Tracking,
    options: ParameterOptions,
}

impl SandwichBatchNorm {
    /// With tables of so many classes, weights 1 and biases 0; the defaults are those of
    /// [`BatchNorm`](super::BatchNorm).
    #[must_use]
    pub fn new(num_features: usize, num_classes: usize) -> Self {
        let (tracking, options) = (Tracking::new(true), ParameterOptions::new());
        Self { num_features, num_classes, class_weight: true, class_bias: true, tracking, options }
    }

    tracking_setters!("`None` is the plain average over all batches.");
    setters! {
        /// With or without the weight and bias that all classes share.
        affine(affine: bool) sets options.affine to affine;
        /// With or without a weight for each class.
        class_weight(class_weight: bool) sets class_weight to class_weight;
        /// With or without a bias for each class.
        class_bias(class_bias: bool) sets class_bias to class_bias;
    }
    common_setters!("where any is shared");

    fn tables(&self) -> Result<Extra<Option<Learned>>> {
        if !self.class_weight && !self.class_bias {
            let reason = "class_weight, class_bias or both are tables with a row for each class";
            return Err(Error::Missing { argument: "class_weight", reason });
        }
        let shape = vec![check_classes(self.num_classes)?, self.num_features];
        let table = |initial| Learned { argument: "num_classes", shape: shape.clone(), initial };
        Ok(Extra {
            class_weight: self.class_weight.then(|| table(1.0)),
            class_bias: self.class_bias.then(|| table(0.0)),
            ..Extra::default()
        })
    }
}

impl TryFrom<SandwichBatchNorm> for Description {
    type Error = Error;

    fn try_from(layer: SandwichBatchNorm) -> Result<Self> {
        let extra = layer.tables()?;
        let (features, tracking) = (("num_features", layer.num_features), &layer.tracking);
        let recipe = Recipe::Sandwich(tracking.batch_norm());
        let all = tracking.described("SandwichBatchNorm".into(), features, (2, None), None, &layer.options, recipe)?;
        Ok(Self { contents: Contents { extra, ..all.contents }, ..all })
    }
}
