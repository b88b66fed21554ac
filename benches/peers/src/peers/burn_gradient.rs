//! A backward pass of burn that begins with a given gradient.
//!
//! burn's own begins with ones. To multiply the output by the gradient would put a pass over the tensor into the time
//! that no training has, so an operation of our own stands behind the output, whose gradient it hands over.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, DispatchKindConversion, DispatchTensor, TensorMetadata};
use burn::tensor::{Shape, Tensor};

/// What a backend needs to be compared, with and without gradients.
pub(crate) trait Differentiable: Backend {
    /// A number whose derivative by `output` is `gradient`.
    fn given<const D: usize>(output: Tensor<D>, gradient: &Tensor<D>) -> Result<Tensor<1>, String>;
}

impl<B: Backend> Differentiable for B
where
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    fn given<const D: usize>(output: Tensor<D>, gradient: &Tensor<D>) -> Result<Tensor<1>, String> {
        let output = output.try_into_primitive::<Autodiff<B>>().map_err(|error| format!("{error:?}"))?;
        let gradient = gradient.clone().try_into_primitive::<B>().map_err(|error| format!("{error:?}"))?;
        let zero = B::float_zeros(Shape::new([1]), &gradient.device(), gradient.dtype().into());
        let number = match Given.prepare::<NoCheckpointing>([output.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(gradient, zero),
            OpsKind::UnTracked(prepared) => prepared.finish(zero),
        };
        Ok(Tensor::from_primitive::<Autodiff<B>>(number))
    }
}

/// The operation; its state is the gradient.
#[derive(Debug)]
struct Given;

impl<B: Backend> Backward<B, 1> for Given {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        unary::<B, _>(ops.parents, ops.node, gradients, |_| ops.state);
    }
}
