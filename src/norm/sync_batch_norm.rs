use super::{BatchNorm, Norm, Operands};
use crate::error::Result;
use crate::plan::{Momentum, Plan, Sharing};
use crate::setters::setters;
use crate::tensor::Layout;

/// Synchronized batch normalization
/// ([`torch.nn.SyncBatchNorm`](https://docs.pytorch.org/docs/stable/generated/torch.nn.SyncBatchNorm.html)): as
/// [`BatchNorm`], with the statistics of a batch that is spread over the ranks of a [`Group`](crate::collective::Group).
///
/// Each rank calls the engine with its own samples and its handle on the group. Shards may differ in size and may be
/// empty. Mean and variance are those of all samples, running estimates follow them alike on all ranks, to the bit, and
/// the input's gradient is that of the sum of all ranks' losses. The gradients of weight and bias are each rank's own
/// share, for whoever adds up those of the whole network. In evaluation, without a group, or alone in it, this is
/// [`BatchNorm`].
///
/// # Shapes
///
/// Those of [`BatchNorm`], with each rank's own samples; channels, type, eps and momentum are the same on all ranks.
///
/// # Errors
///
/// As [`BatchNorm`], save that one rank may well have one value a channel. Where ranks differ in what they do, or do
/// not come together, all get an [`Error::Collective`](crate::Error::Collective) that names them.
///
/// See [`collective`](crate::collective) for an example, and for what crosses between the ranks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SyncBatchNorm {
    /// The normalization of the whole batch.
    pub batch: BatchNorm,
}

impl SyncBatchNorm {
    /// PyTorch's defaults, in training.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        /// In training or in evaluation.
        training(training: bool) sets batch.training to training;
        /// With another momentum.
        momentum(momentum: Momentum) sets batch.momentum to momentum;
        /// With another eps.
        eps(eps: f64) sets batch.eps to eps;
        /// With channels elsewhere.
        layout(layout: Layout) sets batch.layout to layout;
    }
}

impl Norm for SyncBatchNorm {
    fn lower(&self, operands: &Operands) -> Result<Plan> {
        // Whether a channel has more than one value, all ranks know together.
        let plan = self.batch.lower_counting(operands, 0)?;
        Ok(Plan { sharing: self.sharing(), ..plan })
    }

    fn sharing(&self) -> Sharing {
        if self.batch.training { Sharing::Group } else { Sharing::OwnInEvaluation }
    }
}
