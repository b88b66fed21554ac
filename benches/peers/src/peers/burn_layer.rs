//! burn's own modules, with a task's parameters.

use super::Refusal;
use crate::task::{Operation, Task};
use burn::module::{Param, RunningState};
use burn::nn::{
    BatchNorm, BatchNormConfig, GroupNorm, GroupNormConfig, InstanceNorm, InstanceNormConfig, LayerNorm,
    LayerNormConfig, RmsNorm, RmsNormConfig,
};
use burn::tensor::{Device, Tensor, TensorData};
use wgpu_norm::Data;

pub(super) enum Layer {
    Norm(LayerNorm),
    Rms(RmsNorm),
    Group(GroupNorm),
    Instance(InstanceNorm),
    Batch(BatchNorm),
}

/// A task's parameters on a device, from which layers are made.
pub(super) struct Parameters {
    weight: Tensor<1>,
    /// None where the operation has none.
    bias: Option<Tensor<1>>,
    running: Option<[Tensor<1>; 2]>,
}

/// How gradients are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Mode {
    /// Not at all.
    Plain,
    /// Those of the parameters.
    Tracked,
    /// Not at all, and yet as in training, which burn knows by the device.
    Training,
}

impl Parameters {
    pub(super) fn new(task: &Task, device: &Device) -> Result<Self, Refusal> {
        let upload = |data: &Data| upload(data.to_f32(), [data.len()], device);
        let problem = &task.problem;
        let weight = problem.weight.as_ref().map(upload);
        Ok(Self {
            weight: weight.ok_or_else(|| Refusal::cannot("its modules have a weight"))?,
            bias: problem.bias.as_ref().map(upload),
            running: problem
                .running
                .as_ref()
                .map(|running| [&running.mean, &running.var].map(|values| upload_1d(values, device))),
        })
    }

    fn weight(&self, mode: Mode) -> Param<Tensor<1>> {
        parameter(&self.weight, mode)
    }

    fn bias(&self, mode: Mode) -> Option<Param<Tensor<1>>> {
        self.bias.as_ref().map(|bias| parameter(bias, mode))
    }
}

fn upload_1d(values: &[f32], device: &Device) -> Tensor<1> {
    upload(values.to_vec(), [values.len()], device)
}

pub(super) fn upload<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A leaf of its own: a pass consumes the graph that a leaf belongs to.
fn parameter(tensor: &Tensor<1>, mode: Mode) -> Param<Tensor<1>> {
    match mode {
        Mode::Plain => Param::from_tensor(tensor.clone()),
        Mode::Tracked => Param::from_tensor(tensor.clone().autodiff()),
        Mode::Training => Param::from_tensor(tensor.clone().autodiff()).set_require_grad(false),
    }
}

impl Layer {
    pub(super) fn new(task: &Task, parameters: &Parameters, device: &Device, mode: Mode) -> Result<Self, Refusal> {
        let device = if mode == Mode::Plain { device.clone() } else { device.clone().autodiff() };
        let (eps, channels) = (task.eps(), parameters.weight.dims()[0]);
        let (weight, bias) = (parameters.weight(mode), parameters.bias(mode));
        Ok(match task.operation {
            Operation::LayerNorm => {
                let mut layer = LayerNormConfig::new(channels).with_epsilon(eps).init(&device);
                (layer.gamma, layer.beta) = (weight, bias);
                Self::Norm(layer)
            }
            Operation::RmsNorm => {
                let layer = RmsNormConfig::new(channels).with_epsilon(eps).init(&device);
                Self::Rms(RmsNorm { gamma: weight, ..layer })
            }
            Operation::GroupNorm { groups } => {
                let layer = GroupNormConfig::new(groups, channels).with_epsilon(eps).init(&device);
                Self::Group(GroupNorm { gamma: Some(weight), beta: bias, ..layer })
            }
            Operation::InstanceNorm => {
                let layer = InstanceNormConfig::new(channels).with_epsilon(eps).init(&device);
                Self::Instance(InstanceNorm { gamma: Some(weight), beta: bias, ..layer })
            }
            Operation::BatchNorm { training } => {
                let layer = BatchNormConfig::new(channels).with_epsilon(eps).init(&device);
                Self::Batch(batch_norm(layer, training, (weight, bias), parameters.running.as_ref(), mode))
            }
            _ => return Err(Refusal::cannot("it has no such module")),
        })
    }

    pub(super) fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Norm(layer) => layer.forward(input),
            Self::Rms(layer) => layer.forward(input),
            Self::Group(layer) => layer.forward(input),
            Self::Instance(layer) => layer.forward(input),
            Self::Batch(layer) => layer.forward(input),
        }
    }

    /// Weight and bias.
    pub(super) fn parameters(&self) -> Vec<Tensor<1>> {
        let (weight, bias) = match self {
            Self::Norm(layer) => (Some(&layer.gamma), layer.beta.as_ref()),
            Self::Rms(layer) => (Some(&layer.gamma), None),
            Self::Group(layer) => (layer.gamma.as_ref(), layer.beta.as_ref()),
            Self::Instance(layer) => (layer.gamma.as_ref(), layer.beta.as_ref()),
            Self::Batch(layer) => (Some(&layer.gamma), Some(&layer.beta)),
        };
        [weight, bias].into_iter().flatten().map(Param::val).collect()
    }
}

fn batch_norm(
    layer: BatchNorm,
    training: bool,
    (weight, bias): (Param<Tensor<1>>, Option<Param<Tensor<1>>>),
    running: Option<&[Tensor<1>; 2]>,
    mode: Mode,
) -> BatchNorm {
    let estimate = |tensor: &Tensor<1>| {
        let tensor = tensor.clone();
        RunningState::new(if mode == Mode::Plain { tensor } else { tensor.autodiff() })
    };
    let beta = bias.unwrap_or_else(|| layer.beta.clone());
    let mut layer = BatchNorm { gamma: weight, beta, training: Param::from_bool(training), ..layer };
    if let Some([mean, var]) = running {
        layer.running_mean = estimate(mean);
        layer.running_var = estimate(var);
    }
    layer
}
