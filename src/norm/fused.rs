use super::{Norm, Operands};
use crate::error::Result;
use crate::plan::{Activation, Epilogue, Plan, Sharing};
use crate::setters::setters;

/// A normalization with more work done in the same pass over memory.
///
/// A residual needs no option: give one among the operands, and it is added before. A fused normalization can be fused
/// with more; a second activation is refused.
///
/// ```
/// use wgpu_norm::norm::{Fused, LayerNorm, RmsNorm};
/// use wgpu_norm::plan::Activation;
/// use wgpu_norm::{Engine, Parameters, Tensor};
///
/// let gemma = Fused::new(RmsNorm::new([2])).zero_centred_weight(true);
/// let (x, w) = (Tensor::from_f32([1, 2], vec![3.0, 4.0])?, Tensor::from_f32([2], vec![0.0, 1.0])?);
/// let mut parameters = Parameters { weight: Some(&w), ..Parameters::default() };
/// let y = Engine::new()?.forward(&gemma, &x, &mut parameters)?.data().to_f32();
/// assert!((y[1] / y[0] - 2.0 * 4.0 / 3.0).abs() < 1e-6);
///
/// let block = Fused::new(LayerNorm::new([2])).activation(Activation::Silu);
/// let y = Engine::new()?.forward(&block, &x, &mut Parameters::default())?.data().to_f32();
/// assert!(y[0] > -0.28 && y[1] > 0.7); // what SiLU makes of -1 and 1
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Fused<N> {
    /// The normalization.
    pub norm: N,
    /// What else is done.
    pub epilogue: Epilogue,
}

impl<N> Fused<N> {
    /// Nothing more than the normalization yet.
    #[must_use]
    pub fn new(norm: N) -> Self {
        Self { norm, epilogue: Epilogue::default() }
    }

    setters! {
        /// With an activation after weight and bias.
        activation(activation: impl Into<Option<Activation>>) sets epilogue.activation to activation.into();
        /// With a weight that is stored as its distance from 1 (Gemma).
        zero_centred_weight(zero_centred: bool) sets epilogue.zero_centred_weight to zero_centred;
        /// With normalized values that are rounded to the storage type before the weight (LLaMA), rather than
        /// once, after weight, bias and activation.
        rounds_normalized(rounds: bool) sets epilogue.rounds_normalized to rounds;
    }
}

impl<N: Norm> Norm for Fused<N> {
    fn lower(&self, operands: &Operands) -> Result<Plan> {
        let mut plan = self.norm.lower(operands)?;
        plan.epilogue = plan.epilogue.with(self.epilogue)?;
        Ok(plan)
    }

    fn sharing(&self) -> Sharing {
        self.norm.sharing()
    }
}

impl<N: Norm + ?Sized> Norm for &N {
    fn lower(&self, operands: &Operands) -> Result<Plan> {
        (**self).lower(operands)
    }

    fn sharing(&self) -> Sharing {
        (**self).sharing()
    }
}

impl<N: Norm + ?Sized> Norm for Box<N> {
    fn lower(&self, operands: &Operands) -> Result<Plan> {
        (**self).lower(operands)
    }

    fn sharing(&self) -> Sharing {
        (**self).sharing()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::norm::LayerNorm;
    use crate::tensor::{Dtype, Spec};

    #[test]
    fn what_is_fused_can_be_fused_with_more() {
        let spec = |shape: &[usize]| Spec::new(shape, Dtype::F32);
        let operands = Operands::new(spec(&[3, 2])).weight(spec(&[2]));
        let inner = Fused::new(LayerNorm::new([2])).activation(Activation::Relu).rounds_normalized(true);
        let both = Fused::new(inner.clone()).zero_centred_weight(true).lower(&operands).expect("fits");
        let activation = Some(Activation::Relu);
        assert_eq!(both.epilogue, Epilogue { activation, zero_centred_weight: true, rounds_normalized: true });
        let twice = Fused::new(inner).activation(Activation::Silu).lower(&operands);
        assert!(matches!(twice, Err(Error::Unexpected { argument: "activation", .. })), "{twice:?}");
    }
}
