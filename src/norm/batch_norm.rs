use super::{Norm, Operands, channels};
use crate::error::{Error, Result};
use crate::plan::{
    Affine, Cells, Derivation, Extra, Momentum, Nesting, ParameterMap, Plan, RunningUpdate, RunningVariance, Source,
    Statistic, Tables, View,
};
use crate::setters::setters;
use crate::tensor::{Axes, Dtype, Layout};

/// Batch normalization (Ioffe & Szegedy, [arXiv 1502.03167](https://arxiv.org/abs/1502.03167);
/// [`torch.nn.BatchNorm2d`](https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html)).
///
/// Statistics per channel over samples and positions while training, or wherever there are no
/// running estimates; otherwise the running estimates. Training moves these by `momentum` towards
/// the batch's mean and **unbiased** variance, and counts `num_batches_tracked` up where it is given.
///
/// # Shapes
///
/// `input` `[N, C, *]` (2-D to 5-D in PyTorch), or `[N, *, C]` with [`Layout::ChannelsLast`];
/// `weight`, `bias`, `running_mean`, `running_var` `[C]`, each optional; weight and bias `[N, C]` for a scale
/// and shift of each sample.
///
/// ```
/// use wgpu_norm::norm::{BatchNorm, Norm, Operands};
/// use wgpu_norm::{Dtype, Spec};
///
/// let operands = Operands::new(Spec::new([16, 64, 56, 56], Dtype::F32)).running(64, true);
/// assert!(BatchNorm::new().training(true).lower(&operands)?.running_update().is_some());
/// assert!(BatchNorm::new().training(false).lower(&operands)?.running_update().is_none());
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm {
    /// Whether the batch's statistics are used and the running estimates updated.
    pub training: bool,
    /// The share of the new value in the running estimates.
    pub momentum: Momentum,
    /// Which variance the running one follows.
    pub running_variance: RunningVariance,
    /// Added to the variance; PyTorch's default is 1e-5.
    pub eps: f64,
    /// Where the channels lie.
    pub layout: Layout,
}

impl BatchNorm {
    /// PyTorch's defaults, in training.
    #[must_use]
    pub fn new() -> Self {
        Self {
            training: true,
            momentum: Momentum::default(),
            running_variance: RunningVariance::Unbiased,
            eps: 1e-5,
            layout: Layout::ChannelsFirst,
        }
    }

    setters! {
        /// In training or in evaluation.
        training(training: bool) sets training to training;
        /// With another momentum.
        momentum(momentum: Momentum) sets momentum to momentum;
        /// With a running variance that follows the biased or the unbiased one.
        running_variance(running_variance: RunningVariance) sets running_variance to running_variance;
        /// With another eps.
        eps(eps: f64) sets eps to eps;
        /// With channels elsewhere.
        layout(layout: Layout) sets layout to layout;
    }

    /// The input's samples, channels and positions.
    pub(super) fn axes(&self, operands: &Operands) -> Result<Axes> {
        operands.axes(self.layout)
    }

    /// The view whose groups are the channels.
    fn view(&self, Axes { samples: n, channels: c, positions: s }: Axes) -> View {
        match self.layout {
            // One position a channel: the channels are contiguous, and both layouts the same.
            Layout::ChannelsFirst if s != 1 => View::new(1, n, c, s),
            _ => View::new(1, n.saturating_mul(s), c, 1),
        }
    }

    /// Which parameter belongs to which element, where there are those of the channels, or a row of these a sample.
    fn parameters(&self, axes: Axes, view: View, per_sample: bool) -> (ParameterMap, Cells) {
        let Axes { samples: n, channels: c, positions: s } = axes;
        let shared = ParameterMap { c_scale: 1, d_divisor: view.d.max(1), ..ParameterMap::constant(c) };
        if !per_sample {
            return (shared, Cells::groups(view));
        }
        let positions = if view.d == 1 { s.max(1) } else { 1 };
        let map = ParameterMap { len: n.saturating_mul(c), b_divisor: positions, b_scale: c, ..shared };
        (map, Cells { view: channels(self.layout, n, c, s), nesting: Nesting::Repeated(c) })
    }

    /// The plan of a normalization whose weight and bias are those of each sample's class: `tables` has the shape of
    /// the tables, and `affine` what is said of weight and bias.
    pub(super) fn lower_classes(
        &self,
        operands: &Operands,
        axes: Axes,
        tables: Tables,
        extra: Extra<Option<Dtype>>,
        affine: impl FnOnce(ParameterMap, Cells) -> Result<Affine>,
    ) -> Result<Plan> {
        let Axes { samples, channels, positions } = axes;
        match operands.labels {
            Some(labels) if labels == samples => {}
            Some(labels) => {
                return Err(Error::Shape {
                    argument: "labels",
                    got: vec![labels],
                    expected: format!("shape [{samples}], the samples of input of shape {:?}", operands.input.shape),
                });
            }
            None => return Err(Error::Missing { argument: "labels", reason: "they pick the class of each sample" }),
        }
        if tables.classes == 0 && samples > 0 {
            let expected = "a row for each class, and one class at least where there are samples".into();
            return Err(Error::Value { argument: "num_classes", got: "0".into(), expected });
        }
        let source = self.source(operands, channels, samples.saturating_mul(positions))?;
        let view = self.view(axes);
        let (map, cells) = self.parameters(axes, view, true);
        let plan = operands.unchecked_plan(view, Statistic::Centred, source, affine(map, cells)?, self.eps)?;
        let derivation = Derivation { rows: samples, width: channels, repeat: 1, tables: Some(tables) };
        Ok(Plan { derivation: Some(derivation), extra, ..plan })
    }

    /// The plan of a normalization by statistics of `count` values a channel, wherever these are.
    pub(super) fn lower_counting(&self, operands: &Operands, count: usize) -> Result<Plan> {
        let axes = self.axes(operands)?;
        let Axes { samples: n, channels: c, .. } = axes;
        let source = self.source(operands, c, count)?;
        let view = self.view(axes);
        let (map, cells) = self.parameters(axes, view, operands.is_per_sample(&[c], n));
        let affine = operands.affine(&[c], Some(n), map, cells)?;
        operands.plan(view, Statistic::Centred, source, affine, self.eps)
    }

    /// Where statistics of `count` values a channel come from.
    pub(super) fn source(&self, operands: &Operands, channels: usize, count: usize) -> Result<Source> {
        let running = operands.running_of(channels)?;
        if let Momentum::Fixed(share) = self.momentum {
            super::check_momentum(share)?;
        }
        if !self.training && running.is_some() {
            return Ok(Source::Running { channels });
        }
        // As in PyTorch: one value has no variance to speak of.
        if count == 1 && channels > 0 {
            return Err(Error::Shape {
                argument: "input",
                got: operands.input.shape.clone(),
                expected: "more than one value per channel when training, or without running estimates".into(),
            });
        }
        if !self.training {
            return Ok(Source::Input { running: None });
        }
        if running.is_some_and(|r| !r.counter) && self.momentum == Momentum::Cumulative {
            return Err(Error::Missing {
                argument: "num_batches_tracked",
                reason: "a cumulative momentum is 1 / num_batches_tracked",
            });
        }
        let update =
            |counter| RunningUpdate { channels, momentum: self.momentum, counter, variance: self.running_variance };
        Ok(Source::Input { running: running.map(|r| update(r.counter)) })
    }
}

impl Default for BatchNorm {
    fn default() -> Self {
        Self::new()
    }
}

impl Norm for BatchNorm {
    fn lower(&self, operands: &Operands) -> Result<Plan> {
        let Axes { samples, positions, .. } = self.axes(operands)?;
        self.lower_counting(operands, samples.saturating_mul(positions))
    }
}
