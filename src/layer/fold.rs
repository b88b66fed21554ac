use super::contents::Name;
use super::{Entry, Layer};
use crate::error::{Error, Result};
use crate::tensor::{Data, Dtype, Tensor};

/// What an evaluation by running estimates comes down to: `y = x * scale + shift`, a pair for each channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Folded {
    /// `weight / sqrt(running_var + eps)`, of shape `[C]` and f32; of a weight stored as its distance from 1, that plus 1.
    pub scale: Tensor,
    /// `bias - running_mean * scale`, of shape `[C]` and f32.
    pub shift: Tensor,
}

impl Layer {
    /// The scale and shift that evaluation comes down to, for the layer before or after to take over. They are
    /// computed in f64 and rounded once. An activation is not part of them.
    ///
    /// ```
    /// use wgpu_norm::layer::{BatchNorm2d, Layer};
    /// use wgpu_norm::{Engine, Tensor};
    ///
    /// let mut norm = Layer::new(&Engine::new()?, BatchNorm2d::new(1).eps(0.0))?;
    /// norm.set("running_mean", Tensor::from_f32([1], vec![3.0])?)?;
    /// norm.set("running_var", Tensor::from_f32([1], vec![4.0])?)?;
    /// let folded = norm.eval().fold()?;
    /// assert_eq!((folded.scale.data().to_f32()[0], folded.shift.data().to_f32()[0]), (0.5, -1.5));
    /// # Ok::<(), wgpu_norm::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the layer keeps no running estimates of its channels, or scale and shift depend on something else too: on
    /// the input or on labels.
    pub fn fold(&self) -> Result<Folded> {
        let missing = |reason| Error::Missing { argument: "running_mean", reason };
        let eps = self.description.folded_eps().map_err(missing)?;
        let channels = self.contents().running.map_or(0, |running| running.len);
        let values = |name| match self.state.get(name)? {
            Some(Entry::Tensor(tensor)) => Ok(Some(tensor.data().to_f64())),
            _ => Ok(None),
        };
        let or = |values: Option<Vec<f64>>, otherwise| values.unwrap_or_else(|| vec![otherwise; channels]);
        let (mean, var) = (or(values(Name::RunningMean)?, 0.0), or(values(Name::RunningVar)?, 1.0));
        let offset = if self.description.epilogue.zero_centred_weight { 1.0 } else { 0.0 };
        let weight = or(values(Name::Weight)?, 1.0 - offset);
        let bias = or(values(Name::Bias)?, 0.0);
        let scale: Vec<f64> = weight.iter().zip(&var).map(|(w, var)| (w + offset) / (var + eps).sqrt()).collect();
        let shift: Vec<f64> = bias.iter().zip(&mean).zip(&scale).map(|((b, mean), scale)| b - mean * scale).collect();
        let tensor = |values: &[f64]| Tensor::new([channels], Data::from_f64(Dtype::F32, values));
        Ok(Folded { scale: tensor(&scale)?, shift: tensor(&shift)? })
    }
}
