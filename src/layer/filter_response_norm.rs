use super::contents::{Contents, Learned};
use super::description::{Description, Recipe};
use super::input::{ChannelRule, InputRule};
use super::options::{ParameterOptions, check_eps, common_setters, parameter_setters};
use crate::error::{Error, Result};
use crate::norm;
use crate::plan::Extra;
use crate::setters::setters;
use crate::tensor::Layout;

/// Filter response normalization with its thresholded linear unit (Singh & Krishnan,
/// [arXiv 1911.09737](https://arxiv.org/abs/1911.09737)), to become a [`Layer`](super::Layer):
/// `max(x / sqrt(mean(x²) + |eps| + |eps_l|) * weight + bias, tau)`.
///
/// # Shapes
///
/// Input `[N, C, *]`, or `[N, *, C]` with [`Layout::ChannelsLast`]; weight, bias and `tau` `[C]`; `eps_l`, where it is
/// learned, `[1]`.
///
/// # Errors
///
/// Where an option is no number, when the layer is made; where the input has fewer than two axes or other channels,
/// when it is applied.
///
/// ```
/// use wgpu_norm::layer::{FilterResponseNorm, Layer};
/// use wgpu_norm::{Engine, Tensor};
///
/// let mut norm = Layer::new(&Engine::new()?, FilterResponseNorm::new(1).learnable_eps(1e-4))?;
/// assert_eq!(norm.names().collect::<Vec<_>>(), ["weight", "bias", "tau", "eps_l"]);
/// norm.set("tau", Tensor::from_f32([1], vec![0.5])?)?;
/// let y = norm.forward(&Tensor::from_f32([1, 1, 2], vec![3.0, -4.0])?)?.data().to_f32();
/// assert!((y[0] - 3.0 / 12.5_f32.sqrt()).abs() < 1e-4 && y[1] == 0.5);
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FilterResponseNorm {
    num_features: usize,
    eps: f64,
    learned_eps: Option<f32>,
    threshold: bool,
    layout: Layout,
    options: ParameterOptions,
}

impl FilterResponseNorm {
    /// The authors' defaults: a weight, a bias, a threshold that begins with 0, and a constant eps.
    #[must_use]
    pub fn new(num_features: usize) -> Self {
        let options = ParameterOptions::new();
        Self { num_features, eps: 1e-6, learned_eps: None, threshold: true, layout: Layout::ChannelsFirst, options }
    }

    setters! {
        /// With another constant eps.
        eps(eps: f64) sets eps to eps;
        /// With a learned eps on top of the constant one, which begins with this; the authors' begins with 1e-4.
        learnable_eps(initial: f32) sets learned_eps to Some(initial);
        /// With or without the threshold `tau`.
        threshold(threshold: bool) sets threshold to threshold;
        /// With channels elsewhere.
        layout(layout: Layout) sets layout to layout;
    }
    parameter_setters!(affine);

    fn extra(&self) -> Result<Extra<Option<Learned>>> {
        if let Some(initial) = self.learned_eps.filter(|initial| initial.is_nan()) {
            let got = initial.to_string();
            return Err(Error::Value { argument: "learnable_eps", got, expected: "a number".into() });
        }
        let learned = |shape, initial| Learned { argument: "num_features", shape, initial };
        Ok(Extra {
            tau: self.threshold.then(|| learned(vec![self.num_features], 0.0)),
            eps_l: self.learned_eps.map(|initial| learned(vec![1], initial)),
            ..Extra::default()
        })
    }
}

impl TryFrom<FilterResponseNorm> for Description {
    type Error = Error;

    fn try_from(layer: FilterResponseNorm) -> Result<Self> {
        let (argument, channels, layout) = ("num_features", layer.num_features, layer.layout);
        let rule = ChannelRule { argument, channels, any_channels: false, ranks: (2, None), unbatched: None, layout };
        let contents = layer.options.contents(argument, vec![channels]);
        Ok(Self {
            class: "FilterResponseNorm".into(),
            input: InputRule::Channels(rule),
            contents: Contents { extra: layer.extra()?, ..contents },
            epilogue: layer.options.epilogue,
            recipe: Recipe::FilterResponse(norm::FilterResponseNorm { eps: check_eps(layer.eps)?, layout }),
            group: None,
        })
    }
}
