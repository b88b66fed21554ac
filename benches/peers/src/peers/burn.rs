//! burn: its backend Flex on the CPU, its wgpu backend on an adapter.
//!
//! The wgpu backend is as burn's default features have it: operations are fused, and kernels are tuned at their first
//! call. With the feature `spirv` they are compiled to SPIR-V on Vulkan. The device is of burn's own making, on the same
//! adapter as ours.

use super::burn_gradient::Differentiable;
use super::burn_layer::{Layer, Mode, Parameters, upload};
use super::{Column, Peer, Refusal, Round};
use crate::clock;
use crate::stopwatch;
use crate::task::{Operation, Task};
use burn::backend::{Cube, Flex};
use burn::tensor::wgpu::WgpuBackend;
use burn::tensor::{Device, DeviceKind, Tensor};
use std::marker::PhantomData;
use std::time::{Duration, Instant};
use wgpu_norm::{Choice, Data, wgpu};

/// Bytes that calls on a GPU touch before one touches the same again, and calls at most, as ours do.
const TURN: u64 = 128 << 20;
const MOST_IN_TURN: u64 = 64;

/// burn on a device of this backend.
pub(crate) struct Burn<B> {
    device: Device,
    /// Whether calls take their inputs in turn, which then no cache holds.
    in_turn: bool,
    backend: PhantomData<B>,
}

pub(crate) fn on_the_cpu() -> Burn<Flex> {
    Burn { device: Device::flex(), in_turn: false, backend: PhantomData }
}

pub(crate) fn on_adapter(adapter: &wgpu::Adapter) -> Result<Burn<Cube>, String> {
    let info = adapter.get_info();
    let options = Device::wgpu_options().graphics_api(api(info.backend)?).device_kind(kind(&info)?);
    let (device, setup) = options.init_with_setup().map_err(|error| error.to_string())?;
    let got = setup.adapter.get_info().name;
    if got != info.name {
        return Err(format!("it took {got:?}"));
    }
    Ok(Burn { device, in_turn: true, backend: PhantomData })
}

fn api(backend: wgpu::Backend) -> Result<WgpuBackend, String> {
    match backend {
        wgpu::Backend::Vulkan => Ok(WgpuBackend::Vulkan),
        wgpu::Backend::Metal => Ok(WgpuBackend::Metal),
        wgpu::Backend::Dx12 => Ok(WgpuBackend::Dx12),
        wgpu::Backend::Gl => Ok(WgpuBackend::Gl),
        other => Err(format!("it has no backend {other}")),
    }
}

/// burn counts the adapters of each kind.
fn kind(info: &wgpu::AdapterInfo) -> Result<DeviceKind, String> {
    let all = pollster::block_on(Choice::all());
    let infos = all.iter().filter_map(|choice| match choice {
        Choice::Adapter { adapter, .. } => Some(adapter.get_info()),
        _ => None,
    });
    let alike = infos.filter(|other| other.backend == info.backend && other.device_type == info.device_type);
    let index = alike.take_while(|other| other != info).count();
    match info.device_type {
        wgpu::DeviceType::DiscreteGpu => Ok(DeviceKind::DiscreteGpu(index)),
        wgpu::DeviceType::IntegratedGpu => Ok(DeviceKind::IntegratedGpu(index)),
        wgpu::DeviceType::VirtualGpu => Ok(DeviceKind::VirtualGpu(index)),
        wgpu::DeviceType::Cpu => Ok(DeviceKind::Cpu),
        wgpu::DeviceType::Other => Err("it has no name for this kind of adapter".into()),
    }
}

impl<B: Differentiable> Peer for Burn<B> {
    fn column(&self) -> Column {
        Column::Burn
    }

    fn measure(&mut self, task: &Task) -> Result<Round, Refusal> {
        match *task.shape {
            [a, b] => self.of_shape(task, [a, b]),
            [a, b, c, d] => self.of_shape(task, [a, b, c, d]),
            _ => Err(Refusal::failed("no such rank has been thought of")),
        }
    }
}

impl<B: Differentiable> Burn<B> {
    fn of_shape<const D: usize>(&self, task: &Task, shape: [usize; D]) -> Result<Round, Refusal> {
        let parameters = Parameters::new(task, &self.device)?;
        let input = || upload(task.problem.input.to_f32(), shape, &self.device);
        if task.backward {
            let gradient = upload(task.problem.grad_output.to_f32(), shape, &self.device);
            self.backward(&Graphs { task, parameters, device: &self.device, input: input(), gradient })
        } else {
            let inputs = (0..self.calls_in_turn(task)).map(|_| input()).collect();
            self.forward(task, &parameters, inputs)
        }
    }

    fn forward<const D: usize>(
        &self,
        task: &Task,
        parameters: &Parameters,
        mut inputs: Vec<Tensor<D>>,
    ) -> Result<Round, Refusal> {
        let mode = match task.operation {
            Operation::BatchNorm { training: true } => Mode::Training,
            _ => Mode::Plain,
        };
        if mode == Mode::Training {
            inputs = inputs.into_iter().map(Tensor::autodiff).collect();
        }
        let layer = Layer::new(task, parameters, &self.device, mode)?;
        let output = layer.forward(inputs[0].clone());
        let results = vec![data(if mode == Mode::Training { output.without_autodiff() } else { output })?];
        let time = clock::time(|calls| {
            let mut left = calls as usize;
            while left > 0 {
                let turn = left.min(inputs.len());
                // What is dropped before it is computed need not be written.
                let outputs: Vec<_> = inputs[..turn].iter().map(|input| layer.forward(input.clone())).collect();
                self.device.flush()?;
                drop(outputs);
                left -= turn;
            }
            self.device.sync()
        });
        Ok(Round { seconds: time.map_err(Refusal::failed)?.median, results })
    }

    fn backward<const D: usize>(&self, graphs: &Graphs<'_, D>) -> Result<Round, Refusal> {
        let results = graphs.build::<B>()?.results()?;
        let most = self.calls_in_turn(graphs.task);
        let seconds = stopwatch::time(|calls| {
            let (mut left, mut took) = (calls as usize, Duration::ZERO);
            while left > 0 {
                let turn = left.min(most);
                took += self.backward_of(graphs, turn)?;
                left -= turn;
            }
            Ok(took)
        });
        seconds.map(|seconds| Round { seconds, results })
    }

    /// How long the backward passes of so many graphs take, which are built before.
    fn backward_of<const D: usize>(&self, graphs: &Graphs<'_, D>, calls: usize) -> Result<Duration, Refusal> {
        let built = (0..calls).map(|_| graphs.build::<B>()).collect::<Result<Vec<_>, _>>()?;
        self.device.sync().map_err(Refusal::failed)?;
        let begin = Instant::now();
        let gradients: Vec<_> = built.iter().map(|graph| graph.number.backward()).collect();
        self.device.sync().map_err(Refusal::failed)?;
        let took = begin.elapsed();
        drop(gradients);
        Ok(took)
    }

    fn calls_in_turn(&self, task: &Task) -> usize {
        let bytes = task.problem.plan.tensor_bytes() * if task.backward { 3 } else { 2 };
        let calls = TURN.div_ceil(bytes.max(1)).clamp(1, MOST_IN_TURN);
        if self.in_turn { usize::try_from(calls).unwrap_or(1) } else { 1 }
    }
}

/// What graphs are built from; each can be walked once.
struct Graphs<'a, const D: usize> {
    task: &'a Task,
    parameters: Parameters,
    device: &'a Device,
    input: Tensor<D>,
    gradient: Tensor<D>,
}

struct Graph<const D: usize> {
    layer: Layer,
    input: Tensor<D>,
    /// Its derivative by the output is the given gradient.
    number: Tensor<1>,
}

impl<const D: usize> Graphs<'_, D> {
    fn build<B: Differentiable>(&self) -> Result<Graph<D>, Refusal> {
        let layer = Layer::new(self.task, &self.parameters, self.device, Mode::Tracked)?;
        let input = self.input.clone().autodiff().require_grad();
        let output = layer.forward(input.clone());
        let number = B::given(output, &self.gradient).map_err(Refusal::failed)?;
        Ok(Graph { layer, input, number })
    }
}

impl<const D: usize> Graph<D> {
    fn results(&self) -> Result<Vec<Data>, Refusal> {
        let gradients = self.number.backward();
        let missing = || Refusal::cannot("no gradient came out");
        let mut results = vec![data(self.input.grad(&gradients).ok_or_else(missing)?)?];
        for parameter in self.layer.parameters() {
            results.push(data(parameter.grad(&gradients).ok_or_else(missing)?)?);
        }
        Ok(results)
    }
}

fn data<const D: usize>(tensor: Tensor<D>) -> Result<Data, Refusal> {
    let data = tensor.try_into_data().map_err(Refusal::failed)?;
    data.try_into_vec::<f32>().map(Data::F32).map_err(|error| Refusal::Failed(format!("{error:?}")))
}
