use super::{BatchNorm, Norm, Operands};
use crate::error::{Error, Result};
use crate::plan::{Cells, Derivation, Nesting, ParameterMap, Plan, Statistic, View};
use crate::setters::setters;
use crate::tensor::{Axes, Layout};

/// Batch group normalization (Zhou et al., [arXiv 2012.02782](https://arxiv.org/abs/2012.02782)).
///
/// Each sample, as channels and positions, is cut into `num_groups` equally long runs; statistics are those of a run
/// over all samples. A run may begin inside a channel. Running estimates follow as those of [`BatchNorm`] do.
///
/// # Shapes
///
/// `input` as for [`BatchNorm`]; `weight` and `bias` `[C]`, each optional; running estimates `[num_groups]`. With
/// [`Layout::ChannelsLast`] runs are whole channels.
///
/// ```
/// use wgpu_norm::norm::{BatchGroupNorm, Norm, Operands};
/// use wgpu_norm::{Dtype, Spec};
///
/// let operands = Operands::new(Spec::new([16, 6, 5, 4], Dtype::F32)).running(8, true);
/// assert_eq!(BatchGroupNorm::new(8).lower(&operands)?.view().count(), 16 * 15); // runs of three quarters of a channel
/// let error = BatchGroupNorm::new(7).lower(&operands).unwrap_err();
/// assert!(error.to_string().starts_with("num_groups: expected a divisor of 120"));
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct BatchGroupNorm {
    /// Runs that a sample is cut into.
    pub num_groups: usize,
    /// What else there is to choose.
    pub batch: BatchNorm,
}

/// How the runs of a sample and its channels lie to each other.
struct Runs {
    view: View,
    map: ParameterMap,
    cells: Cells,
    derivation: Option<Derivation>,
}

impl BatchGroupNorm {
    /// With this many runs, PyTorch's defaults for [`BatchNorm`], in training.
    #[must_use]
    pub fn new(num_groups: usize) -> Self {
        Self { num_groups, batch: BatchNorm::new() }
    }

    setters! {
        /// With the other options of this normalization.
        batch(batch: BatchNorm) sets batch to batch;
    }

    /// Values of a run.
    fn run(&self, operands: &Operands, axes: Axes) -> Result<usize> {
        let (what, values) = match self.batch.layout {
            Layout::ChannelsFirst => ("the values of a sample", axes.channels.saturating_mul(axes.positions)),
            Layout::ChannelsLast => ("the channels, which runs hold whole where they are last,", axes.channels),
        };
        if self.num_groups == 0 || values % self.num_groups != 0 {
            return Err(Error::Value {
                argument: "num_groups",
                got: self.num_groups.to_string(),
                expected: format!("a divisor of {values}, {what} of input of shape {:?}", operands.input.shape),
            });
        }
        Ok(values / self.num_groups)
    }

    fn runs(&self, axes: Axes, run: usize) -> Runs {
        let Axes { samples: n, channels: c, positions: s } = axes;
        if self.batch.layout == Layout::ChannelsLast {
            let rows = n.saturating_mul(s);
            return Runs {
                view: View::new(1, rows, self.num_groups, run),
                map: ParameterMap { c_scale: run, d_divisor: 1, ..ParameterMap::constant(c) },
                cells: Cells { view: View::new(1, rows, c, 1), nesting: Nesting::Neighbours(run) },
                derivation: None,
            };
        }
        let view = View::new(1, n, self.num_groups, run);
        if s == 0 {
            return Runs {
                view,
                map: ParameterMap { d_divisor: 1, ..ParameterMap::constant(c) },
                cells: Cells { view: View::new(1, n, c, 0), nesting: Nesting::Neighbours(1) },
                derivation: None,
            };
        }
        // Parameters are those of the longest pieces that both runs and channels are made of.
        let piece = common_divisor(run, s).max(1);
        let (a_run, a_channel) = (run / piece, s / piece);
        let pieces = self.num_groups.saturating_mul(a_run);
        let derivation = Derivation { rows: 1, width: pieces, repeat: a_channel, tables: None };
        Runs {
            view,
            map: ParameterMap { c_scale: a_run, d_divisor: piece, ..ParameterMap::constant(pieces) },
            cells: Cells { view: View::new(1, n, pieces, piece), nesting: Nesting::Neighbours(a_run) },
            derivation: (a_channel > 1).then_some(derivation),
        }
    }
}

fn common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

impl Norm for BatchGroupNorm {
    fn lower(&self, operands: &Operands) -> Result<Plan> {
        let axes = self.batch.axes(operands)?;
        let run = self.run(operands, axes)?;
        let Runs { view, map, cells, derivation } = self.runs(axes, run);
        let source = self.batch.source(operands, self.num_groups, view.count())?;
        let affine = operands.affine(&[axes.channels], None, map, cells)?;
        let plan = operands.plan(view, Statistic::Centred, source, affine, self.batch.eps)?;
        let has_parameters = plan.affine.weight.is_some() || plan.affine.bias.is_some();
        Ok(Plan { derivation: derivation.filter(|_| has_parameters), ..plan })
    }
}
