use super::Layer;
use super::description::{Description, Recipe};
use super::options::{ParameterOptions, Tracking, common_setters, parameter_setters, tracking_setters};
use crate::collective::Group;
use crate::error::{Error, Result};
use crate::setters::setters;

/// [`torch.nn.SyncBatchNorm`](https://docs.pytorch.org/docs/stable/generated/torch.nn.SyncBatchNorm.html), to become a
/// [`Layer`]: batch normalization by the statistics of a batch that is spread over the ranks of a [`Group`].
///
/// Each rank has a layer of its own, made in the same order as on the others. In training all of them call together;
/// in evaluation, without a group, or alone in it, the layer is a [`BatchNorm`](super::BatchNorm).
///
/// # Shapes
///
/// Input `[N, C, *]` with each rank's own N, which may be 0; weight, bias and running estimates `[C]`.
///
/// ```
/// use wgpu_norm::collective::local;
/// use wgpu_norm::layer::{Layer, SyncBatchNorm};
/// use wgpu_norm::{Engine, Tensor};
///
/// let rank = &|group: &wgpu_norm::collective::Group, shard: Vec<f32>| {
///     let mut norm = Layer::new(&Engine::new()?, SyncBatchNorm::new(1).group(group).momentum(Some(0.5)))?;
///     norm.forward(&Tensor::from_f32([shard.len(), 1], shard)?)?;
///     norm.get("running_mean").map(|mean| mean.data().to_f32()[0])
/// };
/// let groups = local(2).into_iter(); // each rank takes its own handle along, and is missed where it ends
/// let means = std::thread::scope(|scope| {
///     let shards = [vec![1.0, 2.0, 3.0], vec![6.0]];
///     let ranks = groups.zip(shards).map(|(group, shard)| scope.spawn(move || rank(&group, shard)));
///     ranks.collect::<Vec<_>>().into_iter().map(|rank| rank.join().expect("no rank panics")).collect::<Result<Vec<_>, _>>()
/// })?;
/// assert_eq!(means, [1.5; 2]); // half of the mean of all four
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SyncBatchNorm {
    num_features: usize,
    tracking: Tracking,
    options: ParameterOptions,
    group: Option<Group>,
}

impl SyncBatchNorm {
    /// PyTorch's defaults: a weight, a bias, and running estimates that follow by a tenth. No group yet.
    #[must_use]
    pub fn new(num_features: usize) -> Self {
        Self { num_features, tracking: Tracking::new(true), options: ParameterOptions::new(), group: None }
    }

    /// With the ranks that have the other parts of the batch; PyTorch's `process_group`.
    #[must_use]
    pub fn group(mut self, group: &Group) -> Self {
        self.group = Some(group.clone());
        self
    }

    tracking_setters!("`None` is the plain average over all batches.");
    parameter_setters!(affine);
}

impl TryFrom<SyncBatchNorm> for Description {
    type Error = Error;

    fn try_from(layer: SyncBatchNorm) -> Result<Self> {
        let (features, recipe) = (("num_features", layer.num_features), Recipe::Batch(layer.tracking.batch_norm()));
        let class = CLASS.to_owned();
        let description = layer.tracking.described(class, features, (2, None), None, &layer.options, recipe)?;
        Ok(Self { group: layer.group, ..description })
    }
}

pub(super) const CLASS: &str = "SyncBatchNorm";

/// Makes every [`BatchNorm1d`](super::BatchNorm1d), [`2d`](super::BatchNorm2d) and [`3d`](super::BatchNorm3d) among
/// `layers` share its statistics with the same layer of the other ranks, as
/// [`convert_sync_batchnorm`](https://docs.pytorch.org/docs/stable/generated/torch.nn.SyncBatchNorm.html#torch.nn.SyncBatchNorm.convert_sync_batchnorm)
/// does. Returns how many there were.
///
/// Parameters, running estimates, options, mode and engine stay as they are, and so does the number of axes that a
/// layer takes; other layers are left alone. All ranks have to bring their layers in the same order.
///
/// ```
/// use wgpu_norm::collective::local;
/// use wgpu_norm::layer::{BatchNorm2d, Layer, LayerNorm, convert_sync_batch_norm, revert_sync_batch_norm};
/// use wgpu_norm::Engine;
///
/// let engine = Engine::new()?;
/// let mut network = vec![Layer::new(&engine, BatchNorm2d::new(3))?, Layer::new(&engine, LayerNorm::new([8]))?];
/// assert_eq!(convert_sync_batch_norm(&mut network, &local(1)[0]), 1);
/// assert_eq!(network[0].class(), "SyncBatchNorm");
/// assert_eq!(revert_sync_batch_norm(&mut network), 1);
/// assert_eq!(network[0].class(), "BatchNorm2d");
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
pub fn convert_sync_batch_norm<'a>(layers: impl IntoIterator<Item = &'a mut Layer>, group: &Group) -> usize {
    let batch_norms = layers.into_iter().filter(|layer| matches!(layer.description.recipe, Recipe::Batch(_)));
    let convert = |layer: &mut Layer| {
        layer.description.group = Some(group.for_layer());
        layer.state.renew();
    };
    batch_norms.map(convert).count()
}

/// The reverse of [`convert_sync_batch_norm`]: every layer that shares its statistics has its own again, and is of the
/// class that it was. Returns how many there were.
pub fn revert_sync_batch_norm<'a>(layers: impl IntoIterator<Item = &'a mut Layer>) -> usize {
    let synchronized = layers.into_iter().filter(|layer| layer.description.group.is_some());
    let revert = |layer: &mut Layer| {
        layer.description.group = None;
        layer.state.renew();
    };
    synchronized.map(revert).count()
}
