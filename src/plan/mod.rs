//! What a normalization comes down to: pure data and arithmetic, no device.
//!
//! A plan is a [`View`] of the tensor, a [`Statistic`], its [`Source`], an [`Affine`] map and an [`Epilogue`]. The
//! reference, the CPU backend and the GPU backend each execute plans and know of nothing else.

mod affine;
mod arguments;
mod epilogue;
mod gradient;
mod source;
mod statistic;
mod view;

pub use affine::{Affine, Cells, Nesting, ParameterMap, StatisticMap};
pub use arguments::{Arguments, RunningStatistics};
pub(crate) use arguments::{check_len, check_tensor};
pub use epilogue::{Activation, Epilogue};
pub use gradient::{GradientArguments, Gradients, Statistics, Wanted};
pub use source::{Momentum, RunningUpdate, RunningVariance, Source};
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
    /// What happens beside weight and bias before the output.
    pub(crate) epilogue: Epilogue,
    /// Whether a residual is added to the input first.
    pub(crate) residual: bool,
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

    /// What happens beside weight and bias before the output.
    #[must_use]
    pub fn epilogue(&self) -> Epilogue {
        self.epilogue
    }

    /// Whether a residual is added to the input first, and the sum returned.
    #[must_use]
    pub fn has_residual(&self) -> bool {
        self.residual
    }

    /// Whether mean and variance move with the input, so that gradients flow through them.
    #[must_use]
    pub fn statistics_follow_input(&self) -> bool {
        matches!(self.source, Source::Input { .. })
    }

    /// Whether normalized values are rounded before the weight, to a type that is shorter than arithmetic's.
    #[must_use]
    pub fn rounds_normalized(&self) -> bool {
        self.epilogue.rounds_normalized && self.dtype != Dtype::F32
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
