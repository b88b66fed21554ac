//! Parameters and running estimates that stay on a device from call to call.

use super::pipelines::Gpu;
use super::readback::{Reads, upload};
use crate::error::Result;
use crate::plan::{Extra, RunningStatistics};
use crate::tensor::{Data, Dtype};
use std::sync::Arc;
use wgpu::BufferUsages;

/// What a norm remembers, on a device. Clones share it until one of them is about to change it.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    gpu: Gpu,
    queue: wgpu::Queue,
    weight: Option<Arc<HeldData>>,
    bias: Option<Arc<HeldData>>,
    extra: Extra<Option<Arc<HeldData>>>,
    running: Option<Arc<HeldRunning>>,
}

#[derive(Debug)]
struct HeldData {
    buffer: wgpu::Buffer,
    dtype: Dtype,
    len: usize,
}

/// Running estimates in f32 and their counter, an I64.
#[derive(Debug)]
pub(super) struct HeldRunning {
    pub(super) mean: wgpu::Buffer,
    pub(super) var: wgpu::Buffer,
    pub(super) counter: wgpu::Buffer,
    channels: usize,
    counts: bool,
}

/// Kernels read it, copies leave from it and arrive in it.
const USAGE: BufferUsages = BufferUsages::COPY_SRC.union(BufferUsages::COPY_DST);

impl Held {
    /// Nothing yet.
    pub(crate) fn new(gpu: &Gpu, queue: &wgpu::Queue) -> Self {
        Self {
            gpu: gpu.clone(),
            queue: queue.clone(),
            weight: None,
            bias: None,
            extra: Extra::default(),
            running: None,
        }
    }

    /// Replaces the weight.
    ///
    /// # Errors
    ///
    /// When the device has no memory for it; what was there stays.
    pub(crate) fn set_weight(&mut self, data: &Data) -> Result<()> {
        self.weight = Some(self.data("weight", data)?);
        Ok(())
    }

    /// Replaces the bias.
    ///
    /// # Errors
    ///
    /// As [`set_weight`](Self::set_weight).
    pub(crate) fn set_bias(&mut self, data: &Data) -> Result<()> {
        self.bias = Some(self.data("bias", data)?);
        Ok(())
    }

    /// Replaces what is there of what only some normalizations learn.
    ///
    /// # Errors
    ///
    /// As [`set_weight`](Self::set_weight).
    pub(crate) fn set_extra(&mut self, extra: Extra<Option<&Data>>) -> Result<()> {
        let mut uploaded = Extra::default();
        for (name, (held, data)) in uploaded.as_mut().zip(extra).named() {
            *held = data.map(|data| self.data(name, data)).transpose()?;
        }
        for (held, new) in self.extra.as_mut().zip(uploaded).into_array() {
            *held = new.or(held.take());
        }
        Ok(())
    }

    /// Replaces the running estimates.
    ///
    /// # Errors
    ///
    /// As [`set_weight`](Self::set_weight).
    pub(crate) fn set_running(&mut self, running: &RunningStatistics) -> Result<()> {
        let counter = running.num_batches_tracked.unwrap_or(0);
        self.running = Some(Arc::new(HeldRunning {
            mean: upload(&self.gpu, "running_mean", bytemuck::cast_slice(&running.mean), USAGE)?,
            var: upload(&self.gpu, "running_var", bytemuck::cast_slice(&running.var), USAGE)?,
            counter: upload(&self.gpu, "num_batches_tracked", bytemuck::bytes_of(&counter), USAGE)?,
            channels: running.mean.len(),
            counts: running.num_batches_tracked.is_some(),
        }));
        Ok(())
    }

    /// A copy of the weight.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub(crate) async fn weight(&self) -> Result<Option<Data>> {
        self.fetch(self.weight.as_deref()).await
    }

    /// A copy of the bias.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub(crate) async fn bias(&self) -> Result<Option<Data>> {
        self.fetch(self.bias.as_deref()).await
    }

    /// Copies of what only some normalizations learn.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub(crate) async fn extra(&self) -> Result<Extra<Option<Data>>> {
        let mut copies = Extra::default();
        for (copy, held) in copies.as_mut().zip(self.extra.as_ref()).into_array() {
            *copy = self.fetch(held.as_deref()).await?;
        }
        Ok(copies)
    }

    /// A copy of the running estimates.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub(crate) async fn running(&self) -> Result<Option<RunningStatistics>> {
        let mut reads = Reads::new(&self.gpu);
        self.read_running(&mut reads)?;
        Ok(self.running_from(&reads.now(&self.queue).await?))
    }

    /// Adds copies of the running estimates, where there are any.
    pub(super) fn read_running(&self, reads: &mut Reads<'_>) -> Result<()> {
        let Some(running) = &self.running else { return Ok(()) };
        let bytes = 4 * running.channels;
        reads.add(&running.mean, bytes)?;
        reads.add(&running.var, bytes)?;
        reads.add(&running.counter, 8)
    }

    /// The running estimates from these copies.
    pub(super) fn running_from(&self, copies: &[Vec<u8>]) -> Option<RunningStatistics> {
        let (Some(running), [mean, var, counter]) = (&self.running, copies) else { return None };
        let bytes = 4 * running.channels;
        let counter = counter.first_chunk().copied().map(u64::from_le_bytes);
        Some(RunningStatistics {
            mean: bytemuck::pod_collect_to_vec(&mean[..bytes]),
            var: bytemuck::pod_collect_to_vec(&var[..bytes]),
            num_batches_tracked: counter.filter(|_| running.counts),
        })
    }

    /// Makes running estimates that clones share this one's own, since a kernel is about to move them.
    pub(super) fn unshare(&mut self) -> Result<()> {
        let Some(running) = &mut self.running else { return Ok(()) };
        if Arc::get_mut(running).is_some() {
            return Ok(());
        }
        let device = self.gpu.device();
        let label = Some("wgpu-norm");
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
        let mut copy = |name, buffer: &wgpu::Buffer| -> Result<wgpu::Buffer> {
            let zeros = vec![0; usize::try_from(buffer.size()).unwrap_or(0)];
            let own = upload(&self.gpu, name, &zeros, USAGE)?;
            encoder.copy_buffer_to_buffer(buffer, 0, &own, 0, buffer.size());
            Ok(own)
        };
        let own = HeldRunning {
            mean: copy("running_mean", &running.mean)?,
            var: copy("running_var", &running.var)?,
            counter: copy("num_batches_tracked", &running.counter)?,
            channels: running.channels,
            counts: running.counts,
        };
        self.queue.submit([encoder.finish()]);
        *running = Arc::new(own);
        Ok(())
    }

    pub(super) fn weight_buffer(&self) -> Option<wgpu::Buffer> {
        self.weight.as_ref().map(|held| held.buffer.clone())
    }

    pub(super) fn bias_buffer(&self) -> Option<wgpu::Buffer> {
        self.bias.as_ref().map(|held| held.buffer.clone())
    }

    pub(super) fn extra_buffers(&self) -> Extra<Option<wgpu::Buffer>> {
        self.extra.as_ref().map(|held| held.as_ref().map(|held| held.buffer.clone()))
    }

    pub(super) fn running_buffers(&self) -> Option<&HeldRunning> {
        self.running.as_deref()
    }

    fn data(&self, name: &'static str, data: &Data) -> Result<Arc<HeldData>> {
        let buffer = upload(&self.gpu, name, data.bytes(), USAGE)?;
        Ok(Arc::new(HeldData { buffer, dtype: data.dtype(), len: data.len() }))
    }

    async fn fetch(&self, held: Option<&HeldData>) -> Result<Option<Data>> {
        let Some(held) = held else { return Ok(None) };
        let mut data = Data::zeros(held.dtype, held.len);
        let bytes = data.bytes().len();
        let mut reads = Reads::new(&self.gpu);
        reads.add(&held.buffer, bytes)?;
        if let Some(copy) = reads.now(&self.queue).await?.first() {
            data.bytes_mut().copy_from_slice(&copy[..bytes]);
        }
        Ok(Some(data))
    }
}
