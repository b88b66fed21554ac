//! Compiled kernels, made when first asked for.

use super::capabilities::Capabilities;
use super::link::{Linked, Target, link};
use super::planner::Constants;
use super::scope::{Verdicts, check_alive, scoped};
use super::variant::Variant;
use crate::error::{Error, Result};
#[cfg(not(target_family = "wasm"))]
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The kernels of one device: compiled when first asked for, and kept.
///
/// Clones share what was compiled.
#[derive(Debug, Clone)]
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) capabilities: Capabilities,
    pub(super) pipelines: Arc<Pipelines>,
    pub(super) verdicts: Arc<Verdicts>,
    /// How long results may take to come back.
    pub(super) time_limit: Duration,
}

/// All that wgpu checks, but for a counter in every loop that ends it after 2^64 steps: with that no driver unrolls a
/// loop, and what a lane holds goes to memory instead of registers (docs/performance.md has what it costs).
const UNGUARDED_LOOPS: wgpu::ShaderRuntimeChecks =
    wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() };

/// Longer than any pass that a watchdog lets live.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(300);

impl Gpu {
    /// Kernels for a device. Nothing is compiled yet; no callback of the device is touched.
    #[must_use]
    pub fn new(device: &wgpu::Device) -> Self {
        Self::with_pipeline_cache(device, None)
    }

    /// As [`new`](Self::new), with the application's own pipeline cache, which it may keep on disk: then the next start
    /// compiles nothing again. It takes a device that was requested with `wgpu::Features::PIPELINE_CACHE`, which only Vulkan has.
    ///
    /// ```no_run
    /// # fn start(device: wgpu::Device) -> std::io::Result<()> {
    /// use wgpu_norm::gpu::Gpu;
    ///
    /// let key = wgpu::util::pipeline_cache_key(&device.adapter_info());
    /// let key = key.filter(|_| device.features().contains(wgpu::Features::PIPELINE_CACHE));
    /// let file = key.map(|key| std::env::temp_dir().join(key));
    /// let data = file.as_ref().and_then(|file| std::fs::read(file).ok());
    /// // SAFETY: nobody but this program writes the file.
    /// let cache = file.is_some().then(|| unsafe {
    ///     let descriptor = wgpu::PipelineCacheDescriptor { label: None, data: data.as_deref(), fallback: true };
    ///     device.create_pipeline_cache(&descriptor)
    /// });
    /// let gpu = Gpu::with_pipeline_cache(&device, cache.clone());
    /// // … prepare what the program needs, then:
    /// if let (Some(file), Some(data)) = (file, cache.and_then(|cache| cache.get_data())) {
    ///     std::fs::write(file, data)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_pipeline_cache(device: &wgpu::Device, cache: Option<wgpu::PipelineCache>) -> Self {
        Self {
            device: device.clone(),
            capabilities: Capabilities::of(device),
            pipelines: Arc::new(Pipelines::new(device, cache)),
            verdicts: Arc::default(),
            time_limit: TIME_LIMIT,
        }
    }

    /// Kernels for the same device as if it were another: another column of the table of what adapters like, no subgroups,
    /// smaller bindings. For tests and measurements: bindings, dispatches and offsets stay within the device's own limits,
    /// features and invocations that it lacks fail when a plan is prepared, and subgroups of other sizes than its own give
    /// wrong results.
    #[must_use]
    pub fn assuming(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities.within(&Capabilities::of(&self.device));
        self
    }

    /// With another limit on how long results may take to come back to host tensors.
    pub(crate) fn within(mut self, time_limit: Duration) -> Self {
        self.time_limit = time_limit;
        self
    }

    /// What the device can do, as far as it bears on strategy.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }
}

/// What was compiled so far.
#[derive(Debug)]
pub(super) struct Pipelines {
    cache: Option<wgpu::PipelineCache>,
    compiled: Mutex<HashMap<Key, wgpu::ComputePipeline>>,
    /// Where one kernel is compiled at a time, held meanwhile. That is GL: wgpu gives up on a thread that waits a second
    /// for another's.
    compiling: Option<Mutex<()>>,
}

/// What a pipeline is compiled from.
pub(super) type Key = (Variant, Constants);

impl Pipelines {
    fn new(device: &wgpu::Device, cache: Option<wgpu::PipelineCache>) -> Self {
        let is_gl = device.adapter_info().backend == wgpu::Backend::Gl;
        Self { cache, compiled: Mutex::default(), compiling: is_gl.then(Mutex::default) }
    }

    /// A thread that panicked while it held the lock left the map whole: entries are made before they go in.
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, wgpu::ComputePipeline>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that are still to be compiled, each once.
    #[cfg(not(target_family = "wasm"))]
    fn lacking<'k>(&self, keys: &'k [Key]) -> Vec<&'k Key> {
        let compiled = self.lock();
        let mut lacking = Vec::new();
        for key in keys {
            if !compiled.contains_key(key) && !lacking.contains(&key) {
                lacking.push(key);
            }
        }
        lacking
    }
}

impl Gpu {
    /// The pipelines of some variants.
    pub(super) fn pipelines(&self, keys: &[Key]) -> Result<Vec<wgpu::ComputePipeline>> {
        self.compile_lacking(keys)?;
        keys.iter().map(|key| self.pipeline(key)).collect()
    }

    /// Compiles side by side what was not compiled before, if it is several: a driver takes a kernel a thread. Of what
    /// fails, the first.
    #[cfg(not(target_family = "wasm"))]
    fn compile_lacking(&self, keys: &[Key]) -> Result<()> {
        let lacking = self.pipelines.lacking(keys);
        if lacking.len() < 2 || self.pipelines.compiling.is_some() {
            return Ok(());
        }
        let compiled: Vec<Result<_>> = lacking.into_par_iter().map(|key| self.pipeline(key)).collect();
        compiled.into_iter().try_for_each(|one| one.map(drop))
    }

    /// A browser compiles when it likes.
    #[cfg(target_family = "wasm")]
    fn compile_lacking(&self, _: &[Key]) -> Result<()> {
        Ok(())
    }

    /// The pipeline of a variant, compiled now if it was not before.
    fn pipeline(&self, key: &Key) -> Result<wgpu::ComputePipeline> {
        let compiling = self.pipelines.compiling.as_ref();
        let _alone = compiling.map(|compiling| compiling.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(pipeline) = self.pipelines.lock().get(key) {
            return Ok(pipeline.clone());
        }
        let (variant, constants) = key;
        log::debug!("compiling {} {constants:?}", variant.name());
        let pipeline = self.compile(variant, constants)?;
        // Another thread may have been as fast; then both take its.
        Ok(self.pipelines.lock().entry(*key).or_insert(pipeline).clone())
    }

    fn compile(&self, variant: &Variant, constants: &Constants) -> Result<wgpu::ComputePipeline> {
        let target = if cfg!(target_family = "wasm") { Target::Browser } else { Target::Naga };
        let linked = link(variant, target);
        let name = variant.name();
        let values = constants.values();
        let compile = || {
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(&name),
                source: wgpu::ShaderSource::Wgsl(linked.source.as_str().into()),
            };
            // SAFETY: every loop counts up to a bound that it does not change; a test of the shaders sees to the form.
            // Bounds stay so far below 2^32 that no step passes it: `check_levels` and, of columns, `Strategy::supports`
            // see to that. So every loop ends.
            let module = unsafe { self.device.create_shader_module_trusted(descriptor, UNGUARDED_LOOPS) };
            self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&name),
                layout: None,
                module: &module,
                entry_point: None,
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &values,
                    // Every kernel writes workgroup memory before it reads it.
                    zero_initialize_workgroup_memory: false,
                },
                cache: self.pipelines.cache.as_ref(),
            })
        };
        let (kernel, text) = (name.clone(), linked.clone());
        let pipeline =
            scoped(self, compile, move |message| Error::Kernel { kernel, message: with_origins(&text, &message) })?;
        check_alive(&self.device)?;
        Ok(pipeline)
    }
}

impl Constants {
    /// The overrides by name.
    fn values(&self) -> Vec<(&'static str, f64)> {
        let flag = |flag: Option<bool>| flag.map(|flag| f64::from(u8::from(flag)));
        let named = [
            ("WORKGROUP_SIZE", (self.workgroup_size > 1).then_some(f64::from(self.workgroup_size))),
            ("LANES", (self.workgroup_size > 1).then_some(f64::from(self.lanes))),
            ("EXCHANGED", (self.lanes > 1).then_some(2.0 * f64::from(self.workgroup_size))),
            ("ROW_LANES", self.row_lanes.map(f64::from)),
            ("TILE", self.tile.map(f64::from)),
            ("SUBGROUP_SIZE", self.subgroup_size.map(f64::from)),
            ("PARAMETER_STEP", self.parameter_step.map(f64::from)),
            ("SHARED_ROWS", flag(self.shared_rows)),
            ("ONE_ROW", flag(self.one_row)),
            ("EACH_ROW", flag(self.each_row)),
            ("ROW_STATISTICS", flag(self.row_statistics)),
            ("COLUMN_STATISTICS", flag(self.column_statistics)),
            ("ACTIVATION", self.activation.map(f64::from)),
            ("ROUNDS_NORMALIZED", flag(self.rounds_normalized)),
            ("ZERO_CENTRED", flag(self.zero_centred)),
            ("PARAMETER_SUMS", self.parameter_sums.map(f64::from)),
            ("WEIGHTED", flag(self.weighted)),
            ("EACH", flag(self.each)),
            ("GIVEN", flag(self.given)),
            ("THRESHOLDED", flag(self.thresholded)),
            ("SECOND", flag(self.second)),
            ("TOGETHER", self.together.map(f64::from)),
            ("COLLECTING", self.collecting.map(f64::from)),
            ("LOADS_FIRST", flag(self.loads_first)),
        ];
        named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// wgpu's message, with our own file and line wherever it names a line of the linked text.
fn with_origins(linked: &Linked, message: &str) -> String {
    let mut text = message.to_owned();
    for part in message.split("wgsl:").skip(1) {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        if let Some((path, line)) = digits.parse().ok().and_then(|line| linked.origin(line)) {
            text = text.replacen(&format!("wgsl:{digits}"), &format!("shaders/{path}:{line}"), 1);
        }
    }
    text
}
