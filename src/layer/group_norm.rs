use super::description::{Description, Recipe};
use super::input::{ChannelRule, InputRule};
use super::options::{ParameterOptions, check_eps, common_setters, parameter_setters};
use crate::error::{Error, Result};
use crate::norm;
use crate::setters::setters;
use crate::tensor::Layout;

/// [`torch.nn.GroupNorm`](https://docs.pytorch.org/docs/stable/generated/torch.nn.GroupNorm.html), to become a
/// [`Layer`](super::Layer).
///
/// # Shapes
///
/// Input `[N, C, *]`, or `[N, *, C]` with [`Layout::ChannelsLast`]; weight and bias `[C]`.
///
/// ```
/// use wgpu_norm::layer::{GroupNorm, Layer};
/// use wgpu_norm::{Engine, Tensor};
///
/// let engine = Engine::new()?;
/// let mut norm = Layer::new(&engine, GroupNorm::new(2, 4))?;
/// let y = norm.forward(&Tensor::from_f32([1, 4], vec![1.0, 3.0, 10.0, 30.0])?)?;
/// assert!(y.data().to_f32().iter().zip([-1.0, 1.0, -1.0, 1.0]).all(|(y, want)| (y - want).abs() < 1e-4));
///
/// let error = Layer::new(&engine, GroupNorm::new(3, 4)).unwrap_err();
/// assert!(error.to_string().contains("num_channels must be divisible by num_groups"));
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct GroupNorm {
    groups: Groups,
    num_channels: usize,
    eps: f64,
    layout: Layout,
    options: ParameterOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Groups {
    Number(usize),
    Size(usize),
}

impl GroupNorm {
    /// PyTorch's defaults, with so many groups.
    #[must_use]
    pub fn new(num_groups: usize, num_channels: usize) -> Self {
        Self::with(Groups::Number(num_groups), num_channels)
    }

    /// With groups of so many channels, however many groups that makes.
    #[must_use]
    pub fn of_size(group_size: usize, num_channels: usize) -> Self {
        Self::with(Groups::Size(group_size), num_channels)
    }

    fn with(groups: Groups, num_channels: usize) -> Self {
        Self { groups, num_channels, eps: 1e-5, layout: Layout::ChannelsFirst, options: ParameterOptions::new() }
    }

    setters! {
        /// With another eps.
        eps(eps: f64) sets eps to eps;
        /// With channels elsewhere.
        layout(layout: Layout) sets layout to layout;
    }
    parameter_setters!(affine);

    fn num_groups(&self) -> Result<usize> {
        let (argument, divisor) = match self.groups {
            Groups::Number(number) => ("num_groups", number),
            Groups::Size(size) => ("group_size", size),
        };
        let channels = self.num_channels;
        match channels.checked_rem(divisor) {
            Some(0) => Ok(if argument == "num_groups" { divisor } else { channels / divisor }),
            _ => Err(Error::Value {
                argument,
                got: divisor.to_string(),
                expected: format!("a divisor of {channels}: num_channels must be divisible by {argument}"),
            }),
        }
    }
}

impl TryFrom<GroupNorm> for Description {
    type Error = Error;

    fn try_from(layer: GroupNorm) -> Result<Self> {
        let norm =
            norm::GroupNorm { num_groups: layer.num_groups()?, eps: check_eps(layer.eps)?, layout: layer.layout };
        let rule = ChannelRule {
            argument: "num_channels",
            channels: layer.num_channels,
            any_channels: false,
            ranks: (2, None),
            unbatched: None,
            layout: layer.layout,
        };
        Ok(Self {
            class: "GroupNorm".into(),
            input: InputRule::Channels(rule),
            contents: layer.options.contents("num_channels", vec![layer.num_channels]),
            epilogue: layer.options.epilogue,
            recipe: Recipe::Group(norm),
            group: None,
        })
    }
}
