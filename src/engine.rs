//! Picks a backend, falls back, and keeps the choice visible.

use crate::cpu;
use crate::error::{Error, Result};
use crate::gpu::{self, Gpu};
use crate::norm::{Norm, Operands, Running};
use crate::plan::{Arguments, Plan, RunningStatistics, check_tensor};
use crate::reference::{self, Values};
use crate::tensor::{Data, Tensor};
use std::cmp::Reverse;

/// Something that executes plans on this machine.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Choice {
    /// The f64 reference.
    Reference,
    /// The processor.
    Cpu,
    /// A GPU, or what stands in for one.
    Adapter(wgpu::Adapter),
}

impl Choice {
    /// Everything on this machine: the reference, the CPU and every adapter that `WGPU_BACKEND` allows.
    pub async fn all() -> Vec<Self> {
        let mut all = vec![Self::Reference, Self::Cpu];
        all.extend(adapters().await.into_iter().map(Self::Adapter));
        all
    }

    /// The best GPU, or the CPU where there is none.
    ///
    /// A software rasterizer counts as a GPU only where `WGPU_ADAPTER_NAME` or `WGPU_BACKEND` asks for
    /// it: the CPU backend is faster than a processor that emulates a GPU.
    ///
    /// # Errors
    ///
    /// When no adapter has the name in `WGPU_ADAPTER_NAME`.
    pub async fn auto() -> Result<Self> {
        let mut adapters = adapters().await;
        if let Ok(wanted) = std::env::var("WGPU_ADAPTER_NAME") {
            adapters = named(adapters, &wanted)?;
        } else if wgpu::Backends::from_env().is_none() {
            adapters.retain(|adapter| adapter.get_info().device_type != wgpu::DeviceType::Cpu);
        }
        adapters.sort_by_key(|adapter| Reverse(rank(adapter)));
        Ok(adapters.into_iter().next().map_or(Self::Cpu, Self::Adapter))
    }

    /// What a name stands for: `auto`, `all`, `cpu`, `reference`, or part of an adapter's name.
    ///
    /// # Errors
    ///
    /// When no adapter's name contains it.
    pub async fn named(name: &str) -> Result<Vec<Self>> {
        match name {
            "auto" => Ok(vec![Self::auto().await?]),
            "all" => Ok(Self::all().await),
            "cpu" => Ok(vec![Self::Cpu]),
            "reference" => Ok(vec![Self::Reference]),
            part => Ok(named(adapters().await, part)?.into_iter().map(Self::Adapter).collect()),
        }
    }

    /// The name: `reference`, `cpu`, or the adapter's with its backend.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Reference => "reference".into(),
            Self::Cpu => "cpu".into(),
            Self::Adapter(adapter) => full_name(adapter),
        }
    }
}

/// The adapters that `WGPU_BACKEND` allows, or all.
async fn adapters() -> Vec<wgpu::Adapter> {
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let backends = descriptor.backends;
    let mut adapters = wgpu::Instance::new(descriptor).enumerate_adapters(backends).await;
    adapters
        .retain(|adapter| adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS));
    adapters
}

fn full_name(adapter: &wgpu::Adapter) -> String {
    let info = adapter.get_info();
    format!("{} [{}]", info.name, info.backend)
}

fn named(adapters: Vec<wgpu::Adapter>, part: &str) -> Result<Vec<wgpu::Adapter>> {
    let available = adapters.iter().map(full_name).collect::<Vec<_>>().join(", ");
    let lower = part.to_lowercase();
    let found: Vec<_> = adapters.into_iter().filter(|a| full_name(a).to_lowercase().contains(&lower)).collect();
    if found.is_empty() {
        return Err(Error::NoAdapter { wanted: part.to_owned(), available });
    }
    Ok(found)
}

fn rank(adapter: &wgpu::Adapter) -> u8 {
    match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 4,
        wgpu::DeviceType::IntegratedGpu => 3,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 1,
        wgpu::DeviceType::Cpu => 0,
    }
}

/// The tensors beside the input.
#[derive(Debug, Default)]
pub struct Parameters<'a> {
    /// The factor after the normalization.
    pub weight: Option<&'a Tensor>,
    /// The summand after the factor.
    pub bias: Option<&'a Tensor>,
    /// The running estimates, read in evaluation and updated in training.
    pub running: Option<&'a mut RunningStatistics>,
}

impl Parameters<'_> {
    /// The operands of a call on `input`, for [`Norm::lower`].
    #[must_use]
    pub fn operands(&self, input: &Tensor) -> Operands {
        Operands {
            input: input.spec(),
            weight: self.weight.map(Tensor::spec),
            bias: self.bias.map(Tensor::spec),
            running: self.running.as_ref().map(|r| Running {
                mean: r.mean.len(),
                var: r.var.len(),
                counter: r.num_batches_tracked.is_some(),
            }),
        }
    }

    fn arguments(&mut self) -> Arguments<'_> {
        Arguments {
            weight: self.weight.map(Tensor::data),
            bias: self.bias.map(Tensor::data),
            running: self.running.as_deref_mut(),
        }
    }
}

/// A backend, ready to normalize host tensors.
///
/// ```
/// use wgpu_norm::norm::LayerNorm;
/// use wgpu_norm::{Engine, Parameters, Tensor};
///
/// let engine = Engine::new()?;
/// let input = Tensor::from_f32([2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
/// let output = engine.forward(&LayerNorm::new([3]), &input, &mut Parameters::default())?;
/// assert!((output.data().to_f32()[0] + 1.224_736).abs() < 1e-5);
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[derive(Debug)]
pub struct Engine {
    name: String,
    options: gpu::Options,
    backend: Backend,
}

#[derive(Debug)]
enum Backend {
    Reference,
    Cpu,
    Gpu { gpu: Gpu, queue: wgpu::Queue },
}

impl Engine {
    /// The best GPU, or the CPU where there is none; [`description`](Self::description) says which.
    ///
    /// # Errors
    ///
    /// When a GPU that the environment asks for by name is not there.
    pub fn new() -> Result<Self> {
        pollster::block_on(Self::new_async())
    }

    /// As [`new`](Self::new).
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub async fn new_async() -> Result<Self> {
        Self::open(&Choice::auto().await?).await
    }

    /// An engine on this choice.
    ///
    /// # Errors
    ///
    /// When the adapter gives no device.
    pub async fn open(choice: &Choice) -> Result<Self> {
        Self::open_with(choice, gpu::Options::default()).await
    }

    /// An engine on this choice that prepares every plan with these options.
    ///
    /// # Errors
    ///
    /// When the adapter gives no device.
    pub async fn open_with(choice: &Choice, options: gpu::Options) -> Result<Self> {
        let backend = match choice {
            Choice::Reference => Backend::Reference,
            Choice::Cpu => Backend::Cpu,
            Choice::Adapter(adapter) => {
                let (device, queue) = request(adapter).await?;
                Backend::Gpu { gpu: Gpu::new(&device), queue }
            }
        };
        Ok(Self { name: choice.name(), options, backend })
    }

    /// An engine on an application's own device.
    #[must_use]
    pub fn with_device(device: &wgpu::Device, queue: &wgpu::Queue) -> Self {
        let info = device.adapter_info();
        Self {
            name: format!("{} [{}]", info.name, info.backend),
            options: gpu::Options::default(),
            backend: Backend::Gpu { gpu: Gpu::new(device), queue: queue.clone() },
        }
    }

    /// The name: `reference`, `cpu`, or the adapter's with its backend.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a GPU, or what stands in for one, executes.
    #[must_use]
    pub fn is_gpu(&self) -> bool {
        matches!(self.backend, Backend::Gpu { .. })
    }

    /// One line for a person: what executes, and, where that is the CPU, how to get a GPU.
    #[must_use]
    pub fn description(&self) -> String {
        match &self.backend {
            Backend::Reference => "on the f64 reference".into(),
            Backend::Gpu { .. } => format!("on {}", self.name),
            Backend::Cpu => "on the CPU; for a GPU install its Vulkan driver (on Debian mesa-vulkan-drivers \
                             or the vendor's), see `wgpu-norm adapters`"
                .into(),
        }
    }

    /// Normalizes `input`; running estimates in `parameters` are updated in training.
    ///
    /// # Errors
    ///
    /// As [`Norm::lower`]; and when the device fails or has too little memory.
    pub fn forward(&self, norm: &dyn Norm, input: &Tensor, parameters: &mut Parameters<'_>) -> Result<Tensor> {
        pollster::block_on(self.forward_async(norm, input, parameters))
    }

    /// As [`forward`](Self::forward), without blocking the thread while a GPU works.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    pub async fn forward_async(
        &self,
        norm: &dyn Norm,
        input: &Tensor,
        parameters: &mut Parameters<'_>,
    ) -> Result<Tensor> {
        let plan = norm.lower(&parameters.operands(input))?;
        let mut output = Data::zeros(input.dtype(), input.data().len());
        self.execute(&plan, Some(input.data()), &mut parameters.arguments(), &mut output).await?;
        Tensor::new(input.shape(), output)
    }

    /// Normalizes `tensor` in place.
    ///
    /// ```
    /// use wgpu_norm::norm::RmsNorm;
    /// use wgpu_norm::{Engine, Parameters, Tensor};
    ///
    /// let mut tensor = Tensor::from_f32([1, 2], vec![3.0, 4.0])?;
    /// Engine::new()?.forward_in_place(&RmsNorm::new([2]), &mut tensor, &mut Parameters::default())?;
    /// assert!((tensor.data().to_f32()[1] - 4.0 / 12.5_f32.sqrt()).abs() < 1e-6);
    /// # Ok::<(), wgpu_norm::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward); the tensor is then as it was.
    pub fn forward_in_place(
        &self,
        norm: &dyn Norm,
        tensor: &mut Tensor,
        parameters: &mut Parameters<'_>,
    ) -> Result<()> {
        pollster::block_on(self.forward_in_place_async(norm, tensor, parameters))
    }

    /// As [`forward_in_place`](Self::forward_in_place).
    ///
    /// # Errors
    ///
    /// As [`forward_in_place`](Self::forward_in_place).
    pub async fn forward_in_place_async(
        &self,
        norm: &dyn Norm,
        tensor: &mut Tensor,
        parameters: &mut Parameters<'_>,
    ) -> Result<()> {
        let plan = norm.lower(&parameters.operands(tensor))?;
        self.execute(&plan, None, &mut parameters.arguments(), tensor.data_mut()).await
    }

    /// Executes a plan on host tensors, in place of `output` where there is no `input`.
    ///
    /// # Errors
    ///
    /// When a tensor's length or type is not what the plan says; and when the device fails.
    pub async fn execute(
        &self,
        plan: &Plan,
        input: Option<&Data>,
        arguments: &mut Arguments<'_>,
        output: &mut Data,
    ) -> Result<()> {
        arguments.check(plan)?;
        check_tensor("output", output, plan)?;
        if let Some(input) = input {
            check_tensor("input", input, plan)?;
        }
        match &self.backend {
            Backend::Reference => execute_reference(plan, input, arguments, output),
            Backend::Cpu => {
                cpu::execute(plan, input, arguments, output);
                Ok(())
            }
            Backend::Gpu { gpu, queue } => {
                let prepared = gpu.prepare(plan, &self.options.in_place(input.is_none()))?;
                gpu::readback::execute(&prepared, queue, input, arguments, output).await
            }
        }
    }
}

async fn request(adapter: &wgpu::Adapter) -> Result<(wgpu::Device, wgpu::Queue)> {
    // The device is ours alone, so it gets all that the adapter has.
    let limits = adapter.limits();
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("wgpu-norm"),
        required_features: gpu::required_features() | gpu::optional_features(adapter),
        required_limits: limits,
        ..Default::default()
    };
    adapter.request_device(&descriptor).await.map_err(|error| Error::Device(error.to_string()))
}

fn execute_reference(
    plan: &Plan,
    input: Option<&Data>,
    arguments: &mut Arguments<'_>,
    output: &mut Data,
) -> Result<()> {
    let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect();
    let mut values = Values {
        input: input.unwrap_or(output).to_f64(),
        weight: arguments.weight.map(Data::to_f64),
        bias: arguments.bias.map(Data::to_f64),
        running_mean: arguments.running.as_ref().map(|r| wide(&r.mean)).unwrap_or_default(),
        running_var: arguments.running.as_ref().map(|r| wide(&r.var)).unwrap_or_default(),
        num_batches_tracked: arguments.running.as_ref().and_then(|r| r.num_batches_tracked).unwrap_or(0),
    };
    let result = reference::execute(plan, &mut values)?;
    *output = Data::from_f64(plan.dtype, &result);
    if let (Some(running), Some(update)) = (&mut arguments.running, plan.running_update()) {
        #[expect(clippy::cast_possible_truncation, reason = "running estimates are stored as f32")]
        let narrow = |values: &[f64]| values.iter().map(|&x| x as f32).collect();
        running.mean = narrow(&values.running_mean);
        running.var = narrow(&values.running_var);
        if update.counter {
            running.num_batches_tracked = Some(values.num_batches_tracked);
        }
    }
    Ok(())
}
