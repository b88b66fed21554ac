//! Which shapes a layer takes, by PyTorch's rules and in its words.

use crate::error::{Error, Result};
use crate::tensor::{Layout, Tensor};

/// What a layer is applied to: a tensor, what is added to it first, if anything is, and the class of each sample, for
/// layers with a row of parameters for each class.
///
/// ```
/// use wgpu_norm::layer::{Input, Layer, RmsNorm};
/// use wgpu_norm::{Engine, Tensor};
///
/// let mut norm = Layer::new(&Engine::new()?, RmsNorm::new([2]))?;
/// let (hidden, skip) = (Tensor::from_f32([1, 2], vec![2.0, 3.0])?, Tensor::from_f32([1, 2], vec![1.0, 1.0])?);
/// let forward = norm.forward_saving(Input::new(&hidden).residual(&skip))?;
/// assert_eq!(forward.sum.expect("there is a residual").data().to_f32(), [3.0, 4.0]);
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    pub(super) tensor: &'a Tensor,
    pub(super) residual: Option<&'a Tensor>,
    pub(super) labels: Option<&'a [i64]>,
}

impl<'a> Input<'a> {
    /// A tensor alone.
    #[must_use]
    pub fn new(tensor: &'a Tensor) -> Self {
        Self { tensor, residual: None, labels: None }
    }

    /// With a residual of its shape and type.
    #[must_use]
    pub fn residual(mut self, residual: &'a Tensor) -> Self {
        self.residual = Some(residual);
        self
    }

    /// With the class of each sample, from 0 on, for layers that have a row of parameters for each class. A backward
    /// pass uses those of its forward pass.
    ///
    /// ```
    /// use wgpu_norm::layer::{ConditionalBatchNorm, Input, Layer};
    /// use wgpu_norm::{Engine, Tensor};
    ///
    /// let mut norm = Layer::new(&Engine::new()?, ConditionalBatchNorm::new(1, 10))?;
    /// let x = Tensor::from_f32([2, 1], vec![1.0, 3.0])?;
    /// assert!(norm.forward(Input::new(&x).labels(&[9, 0])).is_ok());
    /// let error = norm.forward(Input::new(&x).labels(&[10, 0])).unwrap_err();
    /// assert!(error.to_string().starts_with("labels: expected classes from 0 to 9"));
    /// # Ok::<(), wgpu_norm::Error>(())
    /// ```
    #[must_use]
    pub fn labels(mut self, labels: &'a [i64]) -> Self {
        self.labels = Some(labels);
        self
    }
}

impl<'a> From<&'a Tensor> for Input<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self::new(tensor)
    }
}

/// The shapes that a layer takes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum InputRule {
    /// What lowering takes.
    Lowering,
    /// What lowering takes, of so many axes at least.
    Axes(usize),
    /// So many channels, and so many axes.
    Channels(ChannelRule),
}

/// The shapes that a layer over channels takes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ChannelRule {
    /// PyTorch's name for the number of channels.
    pub(super) argument: &'static str,
    pub(super) channels: usize,
    /// Whether nothing of the layer's has that length, so any other will do.
    pub(super) any_channels: bool,
    /// The fewest and the most axes.
    pub(super) ranks: (usize, Option<usize>),
    /// How many axes an input has that is one sample without an axis for it.
    pub(super) unbatched: Option<usize>,
    pub(super) layout: Layout,
}

/// How a layer over channels reads a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) samples: usize,
    pub(super) positions: usize,
    /// Whether there is an axis of samples.
    pub(super) batched: bool,
}

/// Checks that there are so many axes at least.
pub(super) fn check_axes(least: usize, shape: &[usize]) -> Result<()> {
    check_rank((least, None), shape)
}

fn check_rank((least, most): (usize, Option<usize>), shape: &[usize]) -> Result<()> {
    let rank = shape.len();
    if rank >= least && most.is_none_or(|most| rank <= most) {
        return Ok(());
    }
    let expected = format!("{} input (got {rank}D input)", rank_words(least, most));
    Err(Error::Shape { argument: "input", got: shape.to_vec(), expected })
}

fn rank_words(least: usize, most: Option<usize>) -> String {
    match most {
        None => format!("at least {least}D"),
        Some(most) if most == least => format!("{least}D"),
        Some(most) => format!("{least}D or {most}D"),
    }
}

impl ChannelRule {
    /// The shape as samples, channels and positions.
    pub(super) fn read(&self, shape: &[usize]) -> Result<Reading> {
        check_rank(self.ranks, shape)?;
        let rank = shape.len();
        let batched = self.unbatched != Some(rank);
        let axes = self.layout.axes(shape, batched)?;
        if axes.channels != self.channels && !self.any_channels {
            let axis = match self.layout {
                Layout::ChannelsFirst => usize::from(batched),
                Layout::ChannelsLast => rank - 1,
            };
            let expected = format!("input's size at dim={axis} to match {} ({})", self.argument, self.channels);
            return Err(Error::Shape { argument: "input", got: shape.to_vec(), expected });
        }
        Ok(Reading { samples: axes.samples, positions: axes.positions, batched })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_of_the_channels_is_named_in_both_layouts() {
        let rule = |layout| ChannelRule {
            argument: "num_features",
            channels: 3,
            any_channels: false,
            ranks: (3, Some(4)),
            unbatched: Some(3),
            layout,
        };
        for (layout, shape, axis) in [
            (Layout::ChannelsFirst, vec![2, 4, 5, 6], 1),
            (Layout::ChannelsFirst, vec![4, 5, 6], 0),
            (Layout::ChannelsLast, vec![2, 4, 5, 6], 3),
            (Layout::ChannelsLast, vec![4, 5, 6], 2),
        ] {
            let message = rule(layout).read(&shape).expect_err("no axis has 3 channels").to_string();
            assert!(message.contains(&format!("dim={axis} to match num_features (3)")), "{message}");
        }
    }
}
