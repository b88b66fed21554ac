//! The options that descriptions have in common, and the builder methods for them.

use super::contents::{Contents, Tracked};
use super::description::{Description, Recipe};
use super::input::{ChannelRule, InputRule};
use crate::error::{Error, Result};
use crate::norm::{BatchNorm, check_momentum};
use crate::plan::{Epilogue, Extra, Momentum, RunningVariance};
use crate::tensor::{Dtype, Layout};

pub(super) use crate::norm::check_eps;

/// The builder methods for weight, bias and what else [`Fused`](crate::norm::Fused) does with them.
macro_rules! parameter_setters {
    ($affine:ident) => {
        setters! {
            /// With or without weight and bias.
            $affine(affine: bool) sets options.affine to affine;
        }
        common_setters!("where there are parameters at all");
        setters! {
            /// With a weight that is stored as its distance from 1 (Gemma), so that it begins with zeros.
            zero_centred_weight(zero_centred: bool) sets options.epilogue.zero_centred_weight to zero_centred;
        }
    };
}

/// The builder methods that make sense wherever there is a weight or a bias. `$where` says where these may be.
macro_rules! common_setters {
    ($where:literal) => {
        setters! {
            #[doc = concat!("With or without a weight, ", $where, ".")]
            weight(weight: bool) sets options.weight to weight;
            #[doc = concat!("With or without a bias, ", $where, ".")]
            bias(bias: bool) sets options.bias to bias;
            /// With parameters of another storage type than f32. Running estimates are always f32.
            dtype(dtype: crate::Dtype) sets options.dtype to dtype;
            /// With an activation after weight and bias.
            activation(activation: impl Into<Option<crate::plan::Activation>>)
                sets options.epilogue.activation to activation.into();
            /// With normalized values that are rounded to the storage type before the weight (LLaMA).
            rounds_normalized(rounds: bool) sets options.epilogue.rounds_normalized to rounds;
        }
    };
}

/// The builder methods for running estimates.
macro_rules! tracking_setters {
    ($momentum_none:literal) => {
        setters! {
            /// With another eps.
            eps(eps: f64) sets tracking.eps to eps;
            /// With another share of the new value in the running estimates.
            #[doc = $momentum_none]
            momentum(momentum: impl Into<Option<f64>>) sets tracking.momentum to momentum.into();
            /// With the momentum as TensorFlow, Keras, Flax and ONNX count it: the share of the old value that is kept.
            momentum_kept(kept: f64) sets tracking.momentum to Some(1.0 - kept);
            /// With a running variance that follows the unbiased variance (PyTorch) or the biased one (TensorFlow, Keras,
            /// ONNX).
            running_variance(variance: crate::plan::RunningVariance) sets tracking.variance to variance;
            /// With or without running estimates; without them evaluation uses the input's own statistics too.
            track_running_stats(track: bool) sets tracking.is_on to track;
            /// With channels elsewhere.
            layout(layout: crate::Layout) sets tracking.layout to layout;
        }
    };
}

pub(super) use {common_setters, parameter_setters, tracking_setters};

/// Which parameters there are, how they are stored, and what is done with them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ParameterOptions {
    pub(super) affine: bool,
    pub(super) weight: bool,
    pub(super) bias: bool,
    pub(super) dtype: Dtype,
    pub(super) epilogue: Epilogue,
}

impl ParameterOptions {
    /// Weight and bias of f32.
    pub(super) fn new() -> Self {
        Self { affine: true, weight: true, bias: true, dtype: Dtype::F32, epilogue: Epilogue::default() }
    }

    /// What a layer with these options holds. `argument` is what `shape` comes from.
    pub(super) fn contents(&self, argument: &'static str, shape: Vec<usize>) -> Contents {
        let one = if self.epilogue.zero_centred_weight { 0.0 } else { 1.0 };
        Contents {
            argument,
            shape,
            dtype: self.dtype,
            weight: (self.affine && self.weight).then_some(one),
            bias: self.affine && self.bias,
            extra: Extra::default(),
            running: None,
        }
    }
}

/// What batch and instance normalization share.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tracking {
    pub(super) eps: f64,
    pub(super) momentum: Option<f64>,
    pub(super) variance: RunningVariance,
    pub(super) is_on: bool,
    pub(super) layout: Layout,
}

impl Tracking {
    /// PyTorch's defaults, with running estimates or without.
    pub(super) fn new(is_on: bool) -> Self {
        let variance = RunningVariance::default();
        Self { eps: 1e-5, momentum: Some(0.1), variance, is_on, layout: Layout::ChannelsFirst }
    }

    /// Batch normalization with these options, in training.
    pub(super) fn batch_norm(&self) -> BatchNorm {
        BatchNorm {
            training: true,
            momentum: self.momentum.map_or(Momentum::Cumulative, Momentum::Fixed),
            running_variance: self.variance,
            eps: self.eps,
            layout: self.layout,
        }
    }

    /// The running estimates of so many statistics, where any are kept.
    pub(super) fn tracked(&self, argument: &'static str, len: usize) -> Option<Tracked> {
        self.is_on.then_some(Tracked { argument, len, counter: true })
    }

    /// The layer with these options, over so many channels by their name. `unbatched` is how many axes a single
    /// sample has, where one is taken.
    pub(super) fn described(
        &self,
        class: String,
        (argument, channels): (&'static str, usize),
        ranks: (usize, Option<usize>),
        unbatched: Option<usize>,
        options: &ParameterOptions,
        recipe: Recipe,
    ) -> Result<Description> {
        self.check()?;
        let contents =
            Contents { running: self.tracked(argument, channels), ..options.contents(argument, vec![channels]) };
        // As PyTorch, which warns: an instance normalization that has nothing takes what comes.
        let any_channels = matches!(recipe, Recipe::Instance(_)) && contents.names().next().is_none();
        let layout = self.layout;
        Ok(Description {
            class,
            input: InputRule::Channels(ChannelRule { argument, channels, any_channels, ranks, unbatched, layout }),
            contents,
            epilogue: options.epilogue,
            recipe,
            group: None,
        })
    }

    fn check(&self) -> Result<()> {
        check_eps(self.eps)?;
        self.momentum.map_or(Ok(()), |momentum| check_momentum(momentum).map(drop))
    }
}

/// Checks that there is a class at all.
pub(super) fn check_classes(num_classes: usize) -> Result<usize> {
    if num_classes == 0 {
        return Err(Error::Value { argument: "num_classes", got: "0".into(), expected: "at least 1".into() });
    }
    Ok(num_classes)
}
