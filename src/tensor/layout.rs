use crate::error::{Error, Result};

/// Where the channel axis lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// `[N, C, *S]`, PyTorch's own order.
    #[default]
    ChannelsFirst,
    /// `[N, *S, C]`.
    ChannelsLast,
}

/// A shape read as samples, channels and positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axes {
    pub(crate) samples: usize,
    pub(crate) channels: usize,
    pub(crate) positions: usize,
}

impl Layout {
    /// Reads `shape` in this layout. Without `batched` there is one sample and no axis for it.
    pub(crate) fn axes(self, shape: &[usize], batched: bool) -> Result<Axes> {
        let (samples, inner) = if batched {
            match shape.split_first() {
                Some((&n, rest)) => (n, rest),
                None => {
                    return Err(Error::Shape { argument: "input", got: vec![], expected: "an axis of samples".into() });
                }
            }
        } else {
            (1, shape)
        };
        let split = match self {
            Self::ChannelsFirst => inner.split_first(),
            Self::ChannelsLast => inner.split_last(),
        };
        let Some((&channels, spatial)) = split else {
            return Err(Error::Shape {
                argument: "input",
                got: shape.to_vec(),
                expected: "an axis of channels".into(),
            });
        };
        let positions =
            super::product(spatial).ok_or_else(|| Error::Overflow { argument: "input", shape: shape.to_vec() })?;
        Ok(Axes { samples, channels, positions })
    }
}
