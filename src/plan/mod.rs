//! What a normalization comes down to: pure data and arithmetic, no device.
//!
//! A plan is a [`View`] of the tensor, a [`Statistic`], its [`Source`], an [`Affine`] map and an [`Epilogue`]. The
//! reference, the CPU backend and the GPU backend each execute plans and know of nothing else.

mod affine;
mod arguments;
mod derivation;
mod epilogue;
mod extra;
mod gradient;
mod mixing;
mod peers;
#[cfg(not(target_family = "wasm"))]
mod pieces;
mod sharing;
mod source;
mod statistic;
mod view;

pub use affine::{Affine, Cells, Nesting, ParameterMap, StatisticMap};
pub use arguments::{Arguments, RunningStatistics};
pub(crate) use arguments::{check_labels, check_len, check_tensor};
pub use derivation::{Derivation, Tables};
pub(crate) use derivation::{Derived, DerivedSums, Own};
pub use epilogue::{Activation, Epilogue};
pub use extra::Extra;
pub(crate) use gradient::obstacle_to_inflow;
pub use gradient::{GradientArguments, Gradients, Statistics, Wanted};
pub use mixing::{Batch, Mixing, Moments};
pub(crate) use mixing::{GroupSums, Shares};
pub(crate) use peers::{Merging, Peers, Shard, moved_mean};
#[cfg(not(target_family = "wasm"))]
pub(crate) use pieces::{Cut, PIECE_BLOCK, Part};
pub use sharing::Sharing;
pub use source::{Momentum, RunningUpdate, RunningVariance, Source};
pub use statistic::Statistic;
pub use view::View;

use crate::error::{Error, Result};
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
    /// How the affine map's parameters are made from the caller's, where they are not the same.
    pub(crate) derivation: Option<Derivation>,
    /// How what only some normalizations learn is stored, as far as there is any.
    pub(crate) extra: Extra<Option<Dtype>>,
    /// Whose the statistics of the input are.
    pub(crate) sharing: Sharing,
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

    /// How the affine map's parameters are made from the caller's, where they are not the same.
    #[must_use]
    pub fn derivation(&self) -> Option<Derivation> {
        self.derivation
    }

    /// How what only some normalizations learn is stored, as far as there is any.
    #[must_use]
    pub fn extra(&self) -> Extra<Option<Dtype>> {
        self.extra
    }

    /// Whose the statistics of the input are.
    #[must_use]
    pub fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// Checks that statistics of the input alone have more than one value each, where other ranks might have had more.
    pub(crate) fn check_alone(&self) -> Result<()> {
        let alone = self.sharing != Sharing::Own && self.source.follows_input();
        if !alone || self.view.count() != 1 || self.view.statistics() == 0 {
            return Ok(());
        }
        Err(Error::Shape {
            argument: "input",
            got: vec![1, self.view.statistics()],
            expected: "more than one value per channel when training, or without running estimates".into(),
        })
    }

    /// Elements of the caller's `weight`, and of its `bias`.
    #[must_use]
    pub fn parameter_len(&self) -> usize {
        self.derivation.map_or(self.affine.map.len, |derivation| derivation.parameter_len())
    }

    /// Elements of what only some normalizations learn, each where it is there.
    #[must_use]
    pub fn extra_len(&self) -> Extra<usize> {
        let columns = self.derivation.map_or(0, |derivation| derivation.columns());
        let table = self.derivation.and_then(|d| d.tables).map_or(0, |tables| tables.classes.saturating_mul(columns));
        Extra { class_weight: table, class_bias: table, tau: columns, eps_l: 1, mean_weight: 3, var_weight: 3 }
    }

    /// How parameters are stored where all are alike; as the input, where there are none.
    pub(crate) fn parameter_dtype(&self) -> Dtype {
        let extra = self.extra.into_array().into_iter().flatten().next();
        self.affine.weight.or(self.affine.bias).or(extra).unwrap_or(self.dtype)
    }

    /// Statistics that a forward pass keeps: one a group, and those that are mixed.
    #[must_use]
    pub fn kept_statistics(&self) -> usize {
        let mixed = self.source.mixing().map_or(0, |mixing| mixing.sources());
        if self.view.elements() == 0 { 0 } else { self.view.statistics().saturating_add(mixed) }
    }

    /// Samples that have a label, if any have.
    #[must_use]
    pub fn labels(&self) -> Option<usize> {
        self.derivation.filter(|derivation| derivation.tables.is_some()).map(|derivation| derivation.rows)
    }

    /// Whether the affine map has a factor.
    #[must_use]
    pub fn has_weight(&self) -> bool {
        self.affine.weight.is_some() || self.extra.class_weight.is_some()
    }

    /// Whether 1 is still to be added to the factors of the affine map, as they are given or as they are made.
    pub(crate) fn adds_one(&self) -> bool {
        self.epilogue.zero_centred_weight && !self.is_made_with_one()
    }

    /// Whether 1 is added to the caller's weights where factors are made of them: tables may follow these, and themselves
    /// know no such thing.
    pub(crate) fn is_made_with_one(&self) -> bool {
        let keeps_weight = |made: Derivation| made.tables.is_none_or(|tables| !tables.are_parameters);
        self.epilogue.zero_centred_weight && self.derivation.is_some_and(keeps_weight)
    }

    /// Whether the affine map has a summand.
    #[must_use]
    pub fn has_bias(&self) -> bool {
        self.affine.bias.is_some() || self.extra.class_bias.is_some()
    }

    /// Whether mean and variance move with the input, so that gradients flow through them.
    #[must_use]
    pub fn statistics_follow_input(&self) -> bool {
        self.source.follows_input()
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

    /// What a group's sum of squares is divided by.
    #[must_use]
    pub fn divisor(&self) -> f64 {
        self.statistic.divisor(self.count())
    }

    /// Elements that share a statistic.
    #[expect(clippy::cast_precision_loss, reason = "no tensor has 2^53 elements")]
    pub(crate) fn count(&self) -> f64 {
        self.view.count() as f64
    }

    /// As [`count`](Self::count), of a part that may be empty: without elements there is nothing to count, however
    /// many each group of no channels would have.
    pub(crate) fn shard_count(&self) -> f64 {
        if self.view.elements() == 0 { 0.0 } else { self.count() }
    }

    /// Elements of `running_mean` and of `running_var`, where the plan has them.
    #[must_use]
    pub fn running_len(&self) -> Option<usize> {
        self.source.running_len()
    }

    /// The update of the running estimates that executing the plan brings, if any.
    ///
    /// An empty tensor holds no statistic, so it leaves the estimates alone, but counts as a batch as in PyTorch; other ranks
    /// of a group may move the estimates still.
    #[must_use]
    pub fn running_update(&self) -> Option<RunningUpdate> {
        self.source.running_update()
    }
}
