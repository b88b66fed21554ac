//! candle, on the CPU.

use super::{Column, Peer, Refusal, Round};
use crate::clock;
use crate::task::{Operation, Task};
use candle_core::{CpuStorage, CustomOp1, Device, Error, Layout, Result, Shape, Tensor, Var};
use candle_nn::{BatchNorm, GroupNorm, LayerNorm, Module, ModuleT, RmsNorm};
use std::hint::black_box;
use wgpu_norm::Data;

pub(crate) struct Candle;

/// candle's own modules.
enum Layer {
    Norm(LayerNorm),
    Rms(RmsNorm),
    Group(GroupNorm),
    Batch { norm: BatchNorm, training: bool },
}

/// Weight and bias; without a bias where the operation has none.
type Parameters = (Var, Option<Var>);

impl Peer for Candle {
    fn column(&self) -> Column {
        Column::Candle
    }

    fn measure(&mut self, task: &Task) -> std::result::Result<Round, Refusal> {
        let parameters = parameters(task).map_err(Refusal::failed)?;
        let (Some(parameters), true) = (parameters, has(task.operation)) else {
            return Err(Refusal::cannot("it has no such module"));
        };
        if task.backward && task.operation == Operation::LayerNorm {
            return Err(Refusal::cannot("its kernel for this passes no gradient on"));
        }
        let layer = Layer::new(task, &parameters).map_err(Refusal::failed)?;
        let round = if task.backward { backward(task, &layer, parameters) } else { forward(task, &layer) };
        round.map_err(Refusal::failed)
    }
}

fn has(operation: Operation) -> bool {
    use Operation as O;
    matches!(operation, O::LayerNorm | O::RmsNorm | O::GroupNorm { .. } | O::InstanceNorm | O::BatchNorm { .. })
}

fn parameters(task: &Task) -> Result<Option<Parameters>> {
    let var = |data: &Data| Var::from_tensor(&tensor(data, &[data.len()])?);
    let Some(weight) = task.problem.weight.as_ref().map(var).transpose()? else { return Ok(None) };
    Ok(Some((weight, task.problem.bias.as_ref().map(var).transpose()?)))
}

fn tensor(data: &Data, shape: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(data.to_f32(), shape, &Device::Cpu)
}

impl Layer {
    fn new(task: &Task, (weight, bias): &Parameters) -> Result<Self> {
        let (eps, weight, channels) = (task.eps(), weight.as_tensor().clone(), weight.elem_count());
        if task.operation == Operation::RmsNorm {
            return Ok(Self::Rms(RmsNorm::new(weight, eps)));
        }
        let bias = bias.as_ref().ok_or_else(|| Error::msg("there is no bias"))?.as_tensor().clone();
        match task.operation {
            Operation::GroupNorm { groups } => GroupNorm::new(weight, bias, channels, groups, eps).map(Self::Group),
            Operation::InstanceNorm => GroupNorm::new(weight, bias, channels, channels, eps).map(Self::Group),
            Operation::BatchNorm { training } => {
                let [mean, var] = running(task)?;
                let norm = BatchNorm::new(channels, mean, var, weight, bias, eps)?;
                Ok(Self::Batch { norm, training })
            }
            _ => Ok(Self::Norm(LayerNorm::new(weight, bias, eps))),
        }
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        match self {
            Self::Norm(layer) => layer.forward(input),
            Self::Rms(layer) => layer.forward(input),
            Self::Group(layer) => layer.forward(input),
            Self::Batch { norm, training } => norm.forward_t(input, *training),
        }
    }

    /// The same, by the way that can be differentiated where there are two.
    fn forward_tracked(&self, input: &Tensor) -> Result<Tensor> {
        match self {
            Self::Rms(layer) => layer.forward_diff(input),
            _ => self.forward(input),
        }
    }
}

fn running(task: &Task) -> Result<[Tensor; 2]> {
    let running = task.problem.running.as_ref().ok_or_else(|| Error::msg("there are no running estimates"))?;
    let tensor = |values: &[f32]| Tensor::from_slice(values, values.len(), &Device::Cpu);
    Ok([tensor(&running.mean)?, tensor(&running.var)?])
}

fn forward(task: &Task, layer: &Layer) -> Result<Round> {
    let input = tensor(&task.problem.input, task.shape)?;
    let results = vec![data(&layer.forward(&input)?)?];
    let time = clock::time(|calls| {
        for _ in 0..calls {
            black_box(layer.forward(black_box(&input))?);
        }
        Ok::<(), Error>(())
    })?;
    Ok(Round { seconds: time.median, results })
}

fn backward(task: &Task, layer: &Layer, (weight, bias): Parameters) -> Result<Round> {
    let input = Var::from_tensor(&tensor(&task.problem.input, task.shape)?)?;
    let gradient = tensor(&task.problem.grad_output, task.shape)?;
    let number = layer.forward_tracked(input.as_tensor())?.apply_op1(Given(gradient))?;
    let gradients = number.backward()?;
    let of = |var: &Var| data(gradients.get(var.as_tensor()).ok_or_else(|| Error::msg("no gradient came out"))?);
    let results = [Some(&input), Some(&weight), bias.as_ref()].into_iter().flatten().map(of).collect::<Result<_>>()?;
    let time = clock::time(|calls| {
        for _ in 0..calls {
            black_box(number.backward()?);
        }
        Ok::<(), Error>(())
    })?;
    Ok(Round { seconds: time.median, results })
}

fn data(tensor: &Tensor) -> Result<Data> {
    tensor.flatten_all()?.to_vec1::<f32>().map(Data::F32)
}

/// A number whose derivative by its argument is given.
///
/// candle's backward pass begins with ones. To multiply the output by the gradient would put passes over the tensor
/// into the time that no training has.
struct Given(Tensor);

impl CustomOp1 for Given {
    fn name(&self) -> &'static str {
        "given-gradient"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}
