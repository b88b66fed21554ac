use super::contents::{Contents, Learned, Tracked};
use super::description::{Description, Recipe};
use super::options::{ParameterOptions, Tracking, common_setters, parameter_setters};
use crate::error::{Error, Result};
use crate::norm;
use crate::plan::Extra;
use crate::setters::setters;

/// Switchable normalization (Luo et al., [arXiv 1806.10779](https://arxiv.org/abs/1806.10779)), to become a
/// [`Layer`](super::Layer): mean and variance are learned mixtures of those of the instance, of the layer and of the
/// batch, by `softmax(mean_weight)` and `softmax(var_weight)`.
///
/// In evaluation running estimates stand for the batch. They begin with mean 0 and variance 1, as everywhere here; the
/// authors' variance begins with 0. Like theirs the layer counts no batches, and theirs is a momentum of the old value
/// that is kept ([`momentum_kept`](Self::momentum_kept)). Their tensors have axes of length 1 beside the channels,
/// `[1, C, 1, 1]` and `[1, C, 1]`, which a checkpoint of theirs has to lose before it loads.
///
/// # Shapes
///
/// Input `[N, C, *]`, or `[N, *, C]` with [`Layout::ChannelsLast`](crate::Layout::ChannelsLast), of two positions at
/// least; weight, bias and running estimates `[C]`; `mean_weight` and `var_weight` `[3]`.
///
/// # Errors
///
/// Where an option is no number, when the layer is made; where the input has fewer than three axes, other channels or
/// one position, when it is applied.
///
/// ```
/// use wgpu_norm::layer::{Layer, SwitchableNorm};
/// use wgpu_norm::{Engine, Tensor};
///
/// let mut norm = Layer::new(&Engine::new()?, SwitchableNorm::new(2))?;
/// let names: Vec<_> = norm.names().collect();
/// assert_eq!(names, ["weight", "bias", "mean_weight", "var_weight", "running_mean", "running_var"]);
///
/// let instance_alone = Tensor::from_f32([3], vec![100.0, 0.0, 0.0])?;
/// norm.set("mean_weight", instance_alone.clone())?;
/// norm.set("var_weight", instance_alone)?;
/// let y = norm.forward(&Tensor::from_f32([1, 2, 2], vec![1.0, 3.0, 11.0, 13.0])?)?.data().to_f32();
/// assert!((y[0] - y[2]).abs() < 1e-5); // each channel by its own mean
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SwitchableNorm {
    num_features: usize,
    tracking: Tracking,
    options: ParameterOptions,
}

impl SwitchableNorm {
    /// The authors' defaults: equal shares, a weight, a bias, and running estimates that follow by a tenth.
    #[must_use]
    pub fn new(num_features: usize) -> Self {
        Self { num_features, tracking: Tracking::new(true), options: ParameterOptions::new() }
    }

    setters! {
        /// With another eps.
        eps(eps: f64) sets tracking.eps to eps;
        /// With another share of the new value in the running estimates.
        momentum(momentum: f64) sets tracking.momentum to Some(momentum);
        /// With the momentum as the authors count it: the share of the old value that is kept.
        momentum_kept(kept: f64) sets tracking.momentum to Some(1.0 - kept);
        /// With or without running estimates; without them evaluation uses the batch's own statistics too.
        track_running_stats(track: bool) sets tracking.is_on to track;
        /// With channels elsewhere.
        layout(layout: crate::Layout) sets tracking.layout to layout;
    }
    parameter_setters!(affine);

    fn norm(&self) -> norm::SwitchableNorm {
        let Tracking { eps, momentum, layout, .. } = self.tracking;
        norm::SwitchableNorm { training: true, momentum: momentum.unwrap_or(0.0), eps, layout }
    }
}

impl TryFrom<SwitchableNorm> for Description {
    type Error = Error;

    fn try_from(layer: SwitchableNorm) -> Result<Self> {
        let (features, recipe) = (("num_features", layer.num_features), Recipe::Switchable(layer.norm()));
        let class = "SwitchableNorm".into();
        let all = layer.tracking.described(class, features, (3, None), None, &layer.options, recipe)?;
        let shares = || Some(Learned { argument: features.0, shape: vec![3], initial: 1.0 });
        let extra = Extra { mean_weight: shares(), var_weight: shares(), ..Extra::default() };
        let running = all.contents.running.map(|running| Tracked { counter: false, ..running });
        Ok(Self { contents: Contents { extra, running, ..all.contents }, ..all })
    }
}
