//! Training runs that two engines can be compared by.

use crate::data::Digits;
use crate::network::Network;
use wgpu_norm::layer::{BatchNorm1d, Layer, LayerNorm};
use wgpu_norm::plan::Activation;
use wgpu_norm::{Engine, Result};

/// The loss of two engines may differ by as much: rounding, grown over some hundred steps.
pub(crate) const TOLERANCE: f32 = 1e-4;
/// The share of test images that a network has to name.
pub(crate) const LEAST_ACCURACY: f64 = 0.9;

pub(crate) const EPOCHS: usize = 20;
const BATCH: usize = 32;

/// The networks that are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Batch,
    Layer,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Batch, Self::Layer];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Batch => "BatchNorm1d",
            Self::Layer => "LayerNorm",
        }
    }

    pub(crate) fn norm(self, engine: &Engine) -> Result<Layer> {
        match self {
            Self::Batch => Layer::new(engine, BatchNorm1d::new(32).activation(Activation::Relu)),
            Self::Layer => Layer::new(engine, LayerNorm::new([32]).activation(Activation::Relu)),
        }
    }
}

/// What came of a training.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) kind: Kind,
    pub(crate) engine: String,
    /// The mean loss of each epoch.
    pub(crate) losses: Vec<f32>,
    pub(crate) accuracy: f64,
    pub(crate) network: Network,
}

/// Trains a network from the same seed as every other run; `progress` is called after each epoch.
pub(crate) fn train(
    kind: Kind,
    engine: &Engine,
    (train, test): (&Digits, &Digits),
    progress: &dyn Fn(),
) -> Result<Run> {
    let mut network = Network::new(kind.norm(engine)?);
    let mut losses = Vec::with_capacity(EPOCHS);
    for epoch in 0..EPOCHS {
        let batches = train.batches(BATCH, epoch);
        let steps: Vec<f32> = batches.iter().map(|batch| network.step(batch)).collect::<Result<_>>()?;
        losses.push(steps.iter().sum::<f32>() / steps.len() as f32);
        progress();
    }
    let accuracy = network.accuracy(test)?;
    Ok(Run { kind, engine: engine.name().to_owned(), losses, accuracy, network })
}

/// The largest difference of two loss curves; infinite where one of them has a NaN, which `max` would pass over.
pub(crate) fn distance(one: &Run, other: &Run) -> f32 {
    let apart = |(a, b): (&f32, &f32)| if (a - b).is_nan() { f32::INFINITY } else { (a - b).abs() };
    one.losses.iter().zip(&other.losses).map(apart).fold(0.0, f32::max)
}
