use super::{InstanceNorm, Norm, Operands};
use crate::error::{Error, Result};
use crate::plan::{Batch, Extra, Mixing, Momentum, Plan, RunningUpdate, RunningVariance, Source, Statistic};
use crate::setters::setters;
use crate::tensor::{Axes, Layout};

/// Switchable normalization (Luo et al., [arXiv 1806.10779](https://arxiv.org/abs/1806.10779)): mean and variance are
/// learned mixtures of those of the instance, of the layer and of the batch.
///
/// The shares are `softmax(mean_weight)` and `softmax(var_weight)`, each of three values for instance, layer and
/// batch. One pass over the input measures the instances; the other two follow from these. The instance's variance is
/// unbiased, as in the authors' code, and the other two inherit that. In evaluation running estimates stand for the
/// batch; they follow the batch's mean and variance as they are, without another correction. `momentum` is the share
/// of the new value, as everywhere in PyTorch; the authors' is the share that is kept.
///
/// Backward, what goes through the statistics is taken about the mixed mean. Where that lies far from an instance's own, as
/// it may in evaluation by running estimates, the gradient loses digits: a thousand of the instance's deviations apart, three.
///
/// # Shapes
///
/// `input` `[N, C, *]`, or `[N, *, C]` with [`Layout::ChannelsLast`], of two positions at least; `mean_weight` and
/// `var_weight` `[3]`; `weight`, `bias`, `running_mean`, `running_var` `[C]`, each optional.
///
/// ```
/// use wgpu_norm::norm::SwitchableNorm;
/// use wgpu_norm::plan::Extra;
/// use wgpu_norm::{Engine, Parameters, Tensor};
///
/// let x = Tensor::from_f32([1, 2, 2], vec![1.0, 3.0, 11.0, 13.0])?;
/// let instance_alone = Tensor::from_f32([3], vec![100.0, 0.0, 0.0])?;
/// let extra = Extra { mean_weight: Some(&instance_alone), var_weight: Some(&instance_alone), ..Extra::default() };
/// let mut parameters = Parameters { extra, ..Parameters::default() };
/// let y = Engine::new()?.forward(&SwitchableNorm::new(), &x, &mut parameters)?.data().to_f32();
/// assert!((y[0] - y[2]).abs() < 1e-5); // each channel by its own mean
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SwitchableNorm {
    /// Whether the batch's statistics are used and the running estimates updated.
    pub training: bool,
    /// The share of the new value in the running estimates.
    pub momentum: f64,
    /// Added to the variance; the authors' default is 1e-5.
    pub eps: f64,
    /// Where the channels lie.
    pub layout: Layout,
}

impl SwitchableNorm {
    /// The authors' defaults, in training.
    #[must_use]
    pub fn new() -> Self {
        Self { training: true, momentum: 0.1, eps: 1e-5, layout: Layout::ChannelsFirst }
    }

    setters! {
        /// In training or in evaluation.
        training(training: bool) sets training to training;
        /// With another momentum.
        momentum(momentum: f64) sets momentum to momentum;
        /// With another eps.
        eps(eps: f64) sets eps to eps;
        /// With channels elsewhere.
        layout(layout: Layout) sets layout to layout;
    }

    /// Where the batch's share comes from.
    fn batch(&self, operands: &Operands, channels: usize) -> Result<Batch> {
        let momentum = Momentum::Fixed(super::check_momentum(self.momentum)?);
        let Some(running) = operands.running_of(channels)? else { return Ok(Batch::Input { running: None }) };
        if !self.training {
            return Ok(Batch::Running);
        }
        let update = RunningUpdate { channels, momentum, counter: running.counter, variance: RunningVariance::Biased };
        Ok(Batch::Input { running: Some(update) })
    }
}

impl Default for SwitchableNorm {
    fn default() -> Self {
        Self::new()
    }
}

impl Norm for SwitchableNorm {
    fn lower(&self, operands: &Operands) -> Result<Plan> {
        operands.check_input()?;
        let shape = &operands.input.shape;
        let axes = self.layout.axes(shape, true)?;
        let Axes { samples, channels, positions } = axes;
        if positions < 2 && samples > 0 && channels > 0 {
            let expected = "two positions a channel at least, whose unbiased variance is taken".into();
            return Err(Error::Shape { argument: "input", got: shape.clone(), expected });
        }
        operands.no_labels()?;
        let three = Some(vec![3]);
        let extra =
            operands.extra_types(Extra { mean_weight: three.clone(), var_weight: three, ..Extra::default() })?;
        for (argument, shares) in [("mean_weight", extra.mean_weight), ("var_weight", extra.var_weight)] {
            if shares.is_none() {
                return Err(Error::Missing { argument, reason: "it mixes instance, layer and batch" });
            }
        }
        let (view, map, cells) = InstanceNorm::parts(self.layout, axes, false);
        let affine = operands.affine(&[channels], None, map, cells)?;
        let source = Source::Mixed(Mixing { samples, channels, batch: self.batch(operands, channels)? });
        let plan = operands.unchecked_plan(view, Statistic::Unbiased, source, affine, self.eps)?;
        Ok(Plan { extra, ..plan })
    }
}
