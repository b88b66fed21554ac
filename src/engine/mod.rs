//! Picks a backend, falls back, and keeps the choice visible.

mod arithmetic;
mod choice;
mod fallback;
mod gradient;
mod held;
mod reference;
#[cfg(not(target_family = "wasm"))]
mod streamed;

pub use arithmetic::{Arithmetic, WithNan};
pub use choice::Choice;
pub use gradient::{Gradients, Upstream};
pub(crate) use held::Inputs;
#[cfg(not(target_family = "wasm"))]
pub use streamed::{Piece, Streamed};

use fallback::Fallback;

use crate::collective::{Group, Pass, Turn, ended};
use crate::cpu;
use crate::error::{Error, Result};
use crate::gpu::synchronized::Rank;
use crate::gpu::{self, Gpu};
use crate::norm::{Norm, Operands, Running};
use crate::plan::{Arguments, Extra, Peers, Plan, RunningStatistics, Sharing, Statistics, check_tensor};
use crate::tensor::{Data, Spec, Tensor};

/// The tensors beside the input.
#[derive(Debug, Default)]
pub struct Parameters<'a> {
    /// The factor after the normalization.
    pub weight: Option<&'a Tensor>,
    /// The summand after the factor.
    pub bias: Option<&'a Tensor>,
    /// The running estimates, read in evaluation and updated in training.
    pub running: Option<&'a mut RunningStatistics>,
    /// What is added to the input before it is normalized.
    pub residual: Option<&'a Tensor>,
    /// What only some normalizations learn.
    pub extra: Extra<Option<&'a Tensor>>,
    /// The class of each sample, where weight and bias, or others after them, are tables with a row for each class.
    pub labels: Option<&'a [i64]>,
    /// The ranks that have the other parts of the batch, for [`SyncBatchNorm`](crate::norm::SyncBatchNorm). In training
    /// a pass blocks its thread until all ranks have come, in the functions that are asynchronous too.
    pub group: Option<&'a Group>,
}

/// What a forward pass gives that a backward pass follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// The normalized tensor.
    pub output: Tensor,
    /// The sum of input and residual, where there is one: what was normalized.
    pub sum: Option<Tensor>,
    /// What backward needs again.
    pub statistics: Statistics,
}

impl Parameters<'_> {
    /// The operands of a call on `input`, for [`Norm::lower`].
    #[must_use]
    pub fn operands(&self, input: &Tensor) -> Operands {
        self.operands_of(input.spec())
    }

    /// As [`operands`](Self::operands), on an input whose values are elsewhere.
    #[must_use]
    pub fn operands_of(&self, input: Spec) -> Operands {
        Operands {
            input,
            weight: self.weight.map(Tensor::spec),
            bias: self.bias.map(Tensor::spec),
            running: self.running.as_ref().map(|r| Running {
                mean: r.mean.len(),
                var: r.var.len(),
                counter: r.num_batches_tracked.is_some(),
            }),
            residual: self.residual.map(Tensor::spec),
            extra: self.extra.map(|tensor| tensor.map(Tensor::spec)),
            labels: self.labels.map(<[i64]>::len),
        }
    }

    fn arguments(&mut self) -> Arguments<'_> {
        Arguments {
            weight: self.weight.map(Tensor::data),
            bias: self.bias.map(Tensor::data),
            running: self.running.as_deref_mut(),
            residual: self.residual.map(Tensor::data),
            sum: None,
            statistics: None,
            extra: self.extra.map(|tensor| tensor.map(Tensor::data)),
            labels: self.labels,
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
///
/// Where a GPU fails, the CPU repeats the pass, and [`description`](Self::description) and
/// [`last_fallback`](Self::last_fallback) say so; [`without_fallback`](Self::without_fallback) makes it an error.
///
/// Clones share the device and what was compiled for it.
#[derive(Debug, Clone)]
pub struct Engine {
    name: String,
    options: gpu::Options,
    backend: Backend,
    /// None where a GPU's failures are errors.
    fallback: Option<Fallback>,
}

#[derive(Debug, Clone)]
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
    #[cfg(not(target_family = "wasm"))]
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
        Self::open_without(choice, wgpu::Features::empty()).await
    }

    /// As [`open`](Self::open), on a device without these features, though the adapter may have them.
    ///
    /// # Errors
    ///
    /// When the adapter gives no device.
    pub async fn open_without(choice: &Choice, features: wgpu::Features) -> Result<Self> {
        let backend = match choice {
            Choice::Reference => Backend::Reference,
            Choice::Cpu => Backend::Cpu,
            Choice::Adapter { adapter, .. } => {
                let (device, queue) = request(adapter, features).await?;
                Backend::Gpu { gpu: Gpu::new(&device), queue }
            }
        };
        Ok(Self::on(choice.name(), backend))
    }

    /// An engine on an application's own device, and its queue: that it is this device's, wgpu does not let us check. While a
    /// result is awaited, a thread named "wgpu-norm poll" polls the device, which may call the application's own callbacks for
    /// mapped buffers.
    #[must_use]
    pub fn with_device(device: &wgpu::Device, queue: &wgpu::Queue) -> Self {
        Self::with_gpu(&Gpu::new(device), queue)
    }

    /// An engine that shares an application's own kernels: what either compiles, both have. The queue is that of
    /// [`Gpu::device`].
    #[must_use]
    pub fn with_gpu(gpu: &Gpu, queue: &wgpu::Queue) -> Self {
        let name = choice::full_name(&gpu.device().adapter_info());
        Self::on(name, Backend::Gpu { gpu: gpu.clone(), queue: queue.clone() })
    }

    fn on(name: String, backend: Backend) -> Self {
        Self { name, options: gpu::Options::default(), backend, fallback: Some(Fallback::default()) }
    }

    /// The same engine, which prepares every plan for a GPU with these options. Those of what a call hands it stay its own:
    /// whole passes, nothing in place. A forced strategy holds for every pass, backward too, and one that cannot serve it is
    /// [`Error::Strategy`], for which no CPU steps in; [`Split`](gpu::Strategy::Split) serves all that have statistics of the
    /// input.
    ///
    /// ```
    /// use wgpu_norm::gpu::{Options, Strategy};
    /// use wgpu_norm::Engine;
    ///
    /// let split = Engine::new()?.options(Options::default().strategy(Strategy::Split));
    /// # Ok::<(), wgpu_norm::Error>(())
    /// ```
    #[must_use]
    pub fn options(self, options: gpu::Options) -> Self {
        let options = options.part(gpu::Part::Whole).moments(false).grad_sum(false).sum_in_place(false);
        Self { options, ..self }
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

    /// One line for a person: what executes; where that is the CPU, how to get a GPU; and where the CPU had to
    /// step in, why.
    #[must_use]
    pub fn description(&self) -> String {
        match (&self.backend, self.last_fallback()) {
            (Backend::Reference, _) => "on the f64 reference".into(),
            (Backend::Gpu { .. }, None) => format!("on {}", self.name),
            (Backend::Gpu { .. }, Some(error)) => {
                let error = error.to_string();
                let reason: Vec<_> = error.split_whitespace().collect();
                format!("on {}, and on the CPU where that failed: {}", self.name, reason.join(" "))
            }
            (Backend::Cpu, _) if cfg!(target_family = "wasm") => {
                "on the CPU, one thread of it; a GPU takes a browser with WebGPU and a page from https or localhost"
                    .into()
            }
            (Backend::Cpu, _) => "on the CPU; for a GPU install its Vulkan driver (on Debian mesa-vulkan-drivers \
                             or the vendor's), see `wgpu-norm adapters`"
                .into(),
        }
    }

    /// Normalizes `input`; running estimates in `parameters` are updated in training.
    ///
    /// # Errors
    ///
    /// As [`Norm::lower`]; and when the device fails or has too little memory.
    #[cfg(not(target_family = "wasm"))]
    pub fn forward(&self, norm: &dyn Norm, input: &Tensor, parameters: &mut Parameters<'_>) -> Result<Tensor> {
        pollster::block_on(self.forward_async(norm, input, parameters))
    }

    /// As [`forward`](Self::forward), without blocking the thread while a GPU works.
    ///
    /// Among ranks it waits for the others, on the thread, for as long as their group lets it, and so does its future where it
    /// is dropped before it is done, as [`Layer::forward_async`](crate::layer::Layer::forward_async) does; its siblings too.
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
        let turn = turn(norm, parameters.group, Pass::Forward)?;
        let result = self.run((norm, turn.as_ref()), input, parameters, None).await;
        ended(turn, result).map(|(output, _)| output)
    }

    /// As [`forward`](Self::forward), keeping what [`backward`](Self::backward) needs, and the sum of input and
    /// residual where there is one.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    #[cfg(not(target_family = "wasm"))]
    pub fn forward_saving(&self, norm: &dyn Norm, input: &Tensor, parameters: &mut Parameters<'_>) -> Result<Forward> {
        pollster::block_on(self.forward_saving_async(norm, input, parameters))
    }

    /// As [`forward_saving`](Self::forward_saving).
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    pub async fn forward_saving_async(
        &self,
        norm: &dyn Norm,
        input: &Tensor,
        parameters: &mut Parameters<'_>,
    ) -> Result<Forward> {
        let turn = turn(norm, parameters.group, Pass::Forward)?;
        let mut statistics = Statistics::default();
        let result = self.run((norm, turn.as_ref()), input, parameters, Some(&mut statistics)).await;
        ended(turn, result).map(|(output, sum)| Forward { output, sum, statistics })
    }

    /// Output and sum, with other ranks where there is a turn.
    pub(crate) async fn run(
        &self,
        (norm, turn): (&dyn Norm, Option<&Turn<'_>>),
        input: &Tensor,
        parameters: &mut Parameters<'_>,
        statistics: Option<&mut Statistics>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let plan = &norm.lower(&parameters.operands(input))?;
        let zeros = || Data::zeros(input.dtype(), input.data().len());
        let (mut output, mut sum) = (zeros(), plan.residual.then(zeros));
        let mut arguments = Arguments { statistics, sum: sum.as_mut(), ..parameters.arguments() };
        self.execute_among(plan, turn, Some(input.data()), &mut arguments, &mut output).await?;
        let shaped = |data| Tensor::new(input.shape(), data);
        Ok((shaped(output)?, sum.map(shaped).transpose()?))
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
    #[cfg(not(target_family = "wasm"))]
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
        let turn = turn(norm, parameters.group, Pass::Forward)?;
        let result = self.run_in_place(norm, turn.as_ref(), tensor, parameters).await;
        ended(turn, result)
    }

    async fn run_in_place(
        &self,
        norm: &dyn Norm,
        turn: Option<&Turn<'_>>,
        tensor: &mut Tensor,
        parameters: &mut Parameters<'_>,
    ) -> Result<()> {
        let plan = norm.lower(&parameters.operands(tensor))?;
        let mut sum = plan.residual.then(|| Data::zeros(tensor.dtype(), tensor.data().len()));
        let mut arguments = Arguments { sum: sum.as_mut(), ..parameters.arguments() };
        self.execute_among(&plan, turn, None, &mut arguments, tensor.data_mut()).await
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
        self.execute_among(plan, None, input, arguments, output).await
    }

    /// As [`execute`](Self::execute), with other ranks where there is a turn.
    async fn execute_among(
        &self,
        plan: &Plan,
        turn: Option<&Turn<'_>>,
        input: Option<&Data>,
        arguments: &mut Arguments<'_>,
        output: &mut Data,
    ) -> Result<()> {
        arguments.check(plan)?;
        check_tensor("output", output, plan)?;
        if let Some(input) = input {
            check_tensor("input", input, plan)?;
        }
        self.execute_held(plan, turn.map(|turn| turn as &dyn Peers), input, arguments, None, output).await
    }

    /// As [`execute`](Self::execute), checked; weight, bias and running estimates are those that are held on the
    /// device, if something is.
    async fn execute_held(
        &self,
        plan: &Plan,
        peers: Option<&dyn Peers>,
        input: Option<&Data>,
        arguments: &mut Arguments<'_>,
        held: Option<&mut gpu::Held>,
        output: &mut Data,
    ) -> Result<()> {
        if peers.is_none() {
            plan.check_alone()?;
        }
        match (&self.backend, peers) {
            (Backend::Reference, _) => reference::execute(plan, peers, input, arguments, output),
            (Backend::Cpu, _) => cpu::execute(plan, peers, input, arguments, output),
            (Backend::Gpu { gpu, queue }, _) => {
                // Who holds something on the device knows what to repeat the pass with.
                let can_repeat = held.is_none() && peers.is_none_or(|peers| peers.can_repeat());
                let result = if let Some(peers) = peers {
                    let rank = Rank { gpu, queue, plan, peers, options: self.options };
                    rank.forward(input, arguments, held, output).await
                } else {
                    let keeps = arguments.statistics.is_some();
                    let options = self.options.in_place(input.is_none()).save_statistics(keeps);
                    gpu::mixed::execute((gpu, queue), (plan, &options), input, arguments, held, output).await
                };
                match result {
                    Err(error) if can_repeat => {
                        self.excuse(error)?;
                        cpu::execute(plan, peers, input, arguments, output)
                    }
                    result => result,
                }
            }
        }
    }
}

/// A pass with other ranks, where there are any and the norm's statistics are theirs too.
fn turn<'a>(norm: &dyn Norm, group: Option<&'a Group>, pass: Pass) -> Result<Option<Turn<'a>>> {
    Ok(peers_of(norm, group)?.map(|group| Turn::new(group, pass)))
}

/// The group, if it has other ranks, of a norm whose statistics are theirs too.
fn peers_of<'a>(norm: &dyn Norm, group: Option<&'a Group>) -> Result<Option<&'a Group>> {
    if group.is_some() && norm.sharing() == Sharing::Own {
        let reason = "SyncBatchNorm alone shares statistics with other ranks";
        return Err(Error::Unexpected { argument: "group", reason });
    }
    Ok(group.filter(|group| group.has_peers() && norm.sharing() == Sharing::Group))
}

async fn request(adapter: &wgpu::Adapter, without: wgpu::Features) -> Result<(wgpu::Device, wgpu::Queue)> {
    // The device is ours alone, so it gets all that the adapter has.
    let limits = adapter.limits();
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("wgpu-norm"),
        required_features: gpu::required_features() | (gpu::optional_features(adapter) - without),
        required_limits: limits,
        ..Default::default()
    };
    let failed = |error| Error::Device(format!("{} gives none: {error}", choice::full_name(&adapter.get_info())));
    adapter.request_device(&descriptor).await.map_err(failed)
}
