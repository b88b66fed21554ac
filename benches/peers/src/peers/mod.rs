//! The libraries that are compared.

pub(crate) mod burn;
mod burn_gradient;
mod burn_layer;
pub(crate) mod candle;
pub(crate) mod ours;
pub(crate) mod python;

use crate::task::Task;
use wgpu_norm::Data;

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Column {
    Ours,
    Burn,
    Candle,
    Torch,
    TorchCompile,
    OnnxRuntime,
}

impl Column {
    /// All but ours.
    pub(crate) const PEERS: [Self; 5] = [Self::Burn, Self::Candle, Self::Torch, Self::TorchCompile, Self::OnnxRuntime];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Burn => "burn",
            Self::Candle => "candle",
            Self::Torch => "torch",
            Self::TorchCompile => "torch.compile",
            Self::OnnxRuntime => "onnxruntime",
        }
    }
}

/// A library at a place.
pub(crate) trait Peer {
    fn column(&self) -> Column;

    /// Computes a task and times it, with the inputs already there.
    fn measure(&mut self, task: &Task) -> Result<Round, Refusal>;
}

/// What a library did in a round.
pub(crate) struct Round {
    /// The median of a call.
    pub(crate) seconds: f64,
    /// The output, or the gradients of input, weight and bias.
    pub(crate) results: Vec<Data>,
}

/// Why there is no time.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The library has no such thing.
    Cannot(String),
    /// It has, and yet.
    Failed(String),
}

impl Refusal {
    fn cannot(reason: impl Into<String>) -> Self {
        Self::Cannot(reason.into())
    }

    fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}
