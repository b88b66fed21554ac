//! Parameters and running estimates that stay on a device from call to call, each with the same in host memory: what a
//! norm remembers outlives the device.

use super::pipelines::Gpu;
use super::readback::Reads;
use super::uploads::{COPIED, upload};
use crate::error::Result;
use crate::plan::{Extra, Plan, RunningStatistics};
use crate::tensor::Data;
use std::sync::Arc;

/// What a norm remembers, on a device. Clones share it until one of them is about to change it.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    gpu: Gpu,
    weight: Option<Arc<HeldData>>,
    bias: Option<Arc<HeldData>>,
    extra: Extra<Option<Arc<HeldData>>>,
    running: Option<Arc<HeldRunning>>,
}

#[derive(Debug)]
struct HeldData {
    buffer: wgpu::Buffer,
    data: Data,
}

/// Running estimates in f32 and their counter, an I64.
#[derive(Debug)]
pub(super) struct HeldRunning {
    pub(super) mean: wgpu::Buffer,
    pub(super) var: wgpu::Buffer,
    pub(super) counter: wgpu::Buffer,
    values: RunningStatistics,
}

impl Held {
    /// Nothing yet.
    pub(crate) fn new(gpu: &Gpu) -> Self {
        Self { gpu: gpu.clone(), weight: None, bias: None, extra: Extra::default(), running: None }
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
            mean: upload(&self.gpu, "running_mean", bytemuck::cast_slice(&running.mean), COPIED)?,
            var: upload(&self.gpu, "running_var", bytemuck::cast_slice(&running.var), COPIED)?,
            counter: upload(&self.gpu, "num_batches_tracked", bytemuck::bytes_of(&counter), COPIED)?,
            values: running.clone(),
        }));
        Ok(())
    }

    /// The same by values that other ranks have moved theirs to: in host memory even where the device takes nothing more.
    ///
    /// # Errors
    ///
    /// As [`set_weight`](Self::set_weight), but the host has the values.
    pub(super) fn settle_running(&mut self, values: &RunningStatistics) -> Result<()> {
        if let Some(HeldRunning { mean, var, counter, .. }) = self.running.as_deref() {
            let (mean, var, counter) = (mean.clone(), var.clone(), counter.clone());
            self.running = Some(Arc::new(HeldRunning { mean, var, counter, values: values.clone() }));
        }
        self.set_running(values)
    }

    /// The weight.
    pub(crate) fn weight(&self) -> Option<&Data> {
        self.weight.as_ref().map(|held| &held.data)
    }

    /// The bias.
    pub(crate) fn bias(&self) -> Option<&Data> {
        self.bias.as_ref().map(|held| &held.data)
    }

    /// What only some normalizations learn.
    pub(crate) fn extra(&self) -> Extra<Option<&Data>> {
        self.extra.as_ref().map(|held| held.as_ref().map(|held| &held.data))
    }

    /// The running estimates.
    pub(crate) fn running(&self) -> Option<&RunningStatistics> {
        self.running.as_ref().map(|held| &held.values)
    }

    /// Makes running estimates that clones share this one's own, since a kernel is about to move them.
    pub(super) fn unshare(&mut self) -> Result<()> {
        let shared = self.running.as_ref().filter(|running| Arc::strong_count(running) > 1);
        match shared.map(|running| running.values.clone()) {
            Some(values) => self.set_running(&values),
            None => Ok(()),
        }
    }

    /// For a pass that may move the running estimates.
    pub(crate) fn moving(&mut self) -> Moving<'_> {
        Moving { held: self, has_arrived: false }
    }

    /// Puts the running estimates back after a pass that failed, which may have moved them.
    fn restore(&mut self) {
        if let Some(values) = self.running().cloned() {
            // A device that takes nothing any more needs nothing put right.
            let _ = self.set_running(&values);
        }
    }

    /// Takes down that there was a batch, though it was empty.
    pub(super) fn count_empty_batch(&mut self, plan: &Plan) -> Result<()> {
        let update = plan.running_update().filter(|update| update.counter);
        let (Some(update), Some(running)) = (update, self.running()) else { return Ok(()) };
        let mut running = running.clone();
        update.count(&mut running);
        self.set_running(&running)
    }

    /// Takes down what a kernel has made of the running estimates.
    pub(super) fn moved(&mut self, values: RunningStatistics) {
        if let Some(running) = self.running.as_mut().and_then(Arc::get_mut) {
            running.values = values;
        }
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
        let buffer = upload(&self.gpu, name, data.bytes(), COPIED)?;
        Ok(Arc::new(HeldData { buffer, data: data.clone() }))
    }
}

/// What a pass moves. Unless it arrives, running estimates are put back where they were: a pass that failed, or that nobody
/// waited for, may have moved those on the device alone.
pub(crate) struct Moving<'a> {
    held: &'a mut Held,
    has_arrived: bool,
}

impl Moving<'_> {
    pub(crate) fn held(&mut self) -> &mut Held {
        self.held
    }

    /// The pass is over, and host and device agree.
    pub(crate) fn arrive(mut self) {
        self.has_arrived = true;
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        if !self.has_arrived {
            self.held.restore();
        }
    }
}

impl HeldRunning {
    /// What the host believes them to be.
    pub(super) fn values(&self) -> &RunningStatistics {
        &self.values
    }

    /// Has mean, variance and a counter that is kept read into what has their lengths.
    pub(super) fn read<'a>(&self, reads: &mut Reads<'a>, into: &'a mut RunningStatistics) -> Result<()> {
        reads.add(&self.mean, bytemuck::cast_slice_mut(&mut into.mean))?;
        reads.add(&self.var, bytemuck::cast_slice_mut(&mut into.var))?;
        let mut counter = into.num_batches_tracked.iter_mut();
        counter.try_for_each(|batches| reads.add(&self.counter, bytemuck::bytes_of_mut(batches)))
    }
}
