//! What a normalization comes down to: pure data and arithmetic, no device.
//!
//! A plan is a [`View`] of the tensor, a [`Statistic`], its [`Source`] and an [`Affine`] map. The
//! reference, the CPU backend and the GPU backend each execute plans and know of nothing else.

mod affine;
mod arguments;
mod source;
mod statistic;
mod view;

pub use affine::{Affine, ParameterMap};
pub use arguments::{Arguments, RunningStatistics};
pub(crate) use arguments::{check_len, check_tensor};
pub use source::{Momentum, RunningUpdate, Source};
pub use statistic::Statistic;
pub use view::View;

use crate::tensor::Dtype;

/// One normalization of one shape, ready for any executor.
///
/// Made by [`Norm::lower`](crate::norm::Norm::lower).
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// How `input` and `output` are stored.
    pub(crate) dtype: Dtype,
    /// Which elements share a statistic.
    pub(crate) view: View,
    /// What is measured of them.
    pub(crate) statistic: Statistic,
    /// Where mean and variance come from.
    pub(crate) source: Source,
    /// What follows the normalization.
    pub(crate) affine: Affine,
    /// Added to the variance.
    pub(crate) eps: f64,
}

impl Plan {
    /// How `input` and `output` are stored.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Which elements share a statistic.
    #[must_use]
    pub fn view(&self) -> View {
        self.view
    }

    /// What is measured of them.
    #[must_use]
    pub fn statistic(&self) -> Statistic {
        self.statistic
    }

    /// Where mean and variance come from.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// What follows the normalization.
    #[must_use]
    pub fn affine(&self) -> Affine {
        self.affine
    }

    /// The number added to the variance.
    #[must_use]
    pub fn eps(&self) -> f64 {
        self.eps
    }

    /// Bytes of `input`, and of `output`.
    #[must_use]
    pub fn tensor_bytes(&self) -> u64 {
        (self.view.elements() * self.dtype.size()) as u64
    }

    /// Elements of `running_mean` and of `running_var`, where the plan has them.
    #[must_use]
    pub fn running_len(&self) -> Option<usize> {
        match self.source {
            Source::Input { running } => running.map(|r| r.channels),
            Source::Running { channels } => Some(channels),
        }
    }

    /// The update of the running estimates that executing the plan brings, if any.
    ///
    /// An empty tensor holds no statistic, so it leaves the estimates and their counter alone.
    #[must_use]
    pub fn running_update(&self) -> Option<RunningUpdate> {
        match self.source {
            Source::Input { running } if self.view.elements() > 0 => running,
            _ => None,
        }
    }
}
