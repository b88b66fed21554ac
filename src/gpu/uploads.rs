//! Host tensors and what belongs to them, in buffers of a device.

use super::buffers::Buffers;
use super::held::Held;
use super::pipelines::Gpu;
use super::readback::blamed;
use super::scope::scoped;
use crate::error::{Error, Result};
use crate::plan::{Extra, Moments, Statistics};
use crate::tensor::Data;
use wgpu::{BufferSlice, BufferUsages};

/// Of what kernels bind, and copies leave from and arrive in.
pub(super) const COPIED: BufferUsages = BufferUsages::COPY_SRC.union(BufferUsages::COPY_DST);

/// What a norm learns: held on the device, or uploaded.
pub(super) struct Learned {
    weight: Option<wgpu::Buffer>,
    bias: Option<wgpu::Buffer>,
    extra: Extra<Option<wgpu::Buffer>>,
}

impl Learned {
    /// What is `held`; or the weight and the bias, and what only some normalizations learn.
    pub(super) fn of(
        gpu: &Gpu,
        [weight, bias]: [Option<&Data>; 2],
        extra: Extra<Option<&Data>>,
        held: Option<&Held>,
    ) -> Result<Self> {
        if let Some(held) = held {
            let (weight, bias) = (held.weight_buffer(), held.bias_buffer());
            return Ok(Self { weight, bias, extra: held.extra_buffers() });
        }
        let mut uploaded = Extra::default();
        for (name, (buffer, data)) in uploaded.as_mut().zip(extra).named() {
            *buffer = upload_some(gpu, name, data)?;
        }
        Ok(Self { weight: upload_some(gpu, "weight", weight)?, bias: upload_some(gpu, "bias", bias)?, extra: uploaded })
    }

    /// The buffers of a call with these.
    pub(super) fn beside<'a>(&'a self, buffers: Buffers<'a>) -> Buffers<'a> {
        buffers.weight(whole(&self.weight)).bias(whole(&self.bias)).extra(self.extra.as_ref().map(whole))
    }
}

/// All of a buffer, if there is one.
pub(super) fn whole(buffer: &Option<wgpu::Buffer>) -> Option<BufferSlice<'_>> {
    buffer.as_ref().map(|buffer| buffer.slice(..))
}

/// The statistics that kernels keep: of each the mean, what f32 left of it, rstd, and the variance.
pub(super) fn statistics_from(entries: &[[f32; 4]], groups: usize) -> Statistics {
    let (own, sources) = entries.split_at(groups.min(entries.len()));
    let means = |entries: &[[f32; 4]]| entries.iter().map(|e| f64::from(e[0]) + f64::from(e[1])).collect();
    Statistics {
        mean: means(own),
        rstd: own.iter().map(|e| f64::from(e[2])).collect(),
        sources: Moments { mean: means(sources), var: sources.iter().map(|e| f64::from(e[3])).collect() },
    }
}

/// The same the other way; of the variances backward has a use for those that are mixed alone.
#[expect(clippy::cast_possible_truncation, reason = "the tail holds what rounding the mean leaves")]
pub(super) fn entries_of(statistics: &Statistics) -> Vec<[f32; 4]> {
    let parts = |mean: f64| [mean as f32, (mean - f64::from(mean as f32)) as f32];
    let entry = |mean, rstd, var| {
        let [head, tail] = parts(mean);
        [head, tail, rstd as f32, var as f32]
    };
    let own = statistics.mean.iter().zip(&statistics.rstd).map(|(&mean, &rstd): (&f64, &f64)| entry(mean, rstd, 0.0));
    let sources = statistics.sources.mean.iter().zip(&statistics.sources.var);
    own.chain(sources.map(|(&mean, &var): (&f64, &f64)| entry(mean, 0.0, var))).collect()
}

pub(super) fn upload_some(gpu: &Gpu, argument: &'static str, data: Option<&Data>) -> Result<Option<wgpu::Buffer>> {
    data.map(|data| upload(gpu, argument, data.bytes(), BufferUsages::empty())).transpose()
}

pub(super) fn allocate(gpu: &Gpu, argument: &'static str, bytes: u64, usage: BufferUsages) -> Result<wgpu::Buffer> {
    create(gpu, argument, bytes.next_multiple_of(4), usage | BufferUsages::STORAGE, false)
}

pub(super) fn upload(gpu: &Gpu, argument: &'static str, bytes: &[u8], usage: BufferUsages) -> Result<wgpu::Buffer> {
    let size = (bytes.len() as u64).next_multiple_of(4).max(4);
    let buffer = create(gpu, argument, size, usage | BufferUsages::STORAGE, true)?;
    match buffer.slice(..).get_mapped_range_mut() {
        Ok(mut view) => view.slice(..bytes.len()).copy_from_slice(bytes),
        Err(error) => return Err(blamed(gpu.device(), Error::Device(error.to_string()))),
    }
    buffer.unmap();
    Ok(buffer)
}

/// A place for what is read back into `data`, if something is.
pub(super) fn place(gpu: &Gpu, argument: &'static str, data: Option<&Data>) -> Result<Option<wgpu::Buffer>> {
    data.map(|data| allocate(gpu, argument, data.bytes().len() as u64, BufferUsages::COPY_SRC)).transpose()
}

pub(super) fn create(
    gpu: &Gpu,
    argument: &'static str,
    size: u64,
    usage: BufferUsages,
    mapped: bool,
) -> Result<wgpu::Buffer> {
    let limit = gpu.device().limits().max_buffer_size;
    if size > limit {
        return Err(Error::TooLarge {
            argument,
            needed: size,
            unit: "bytes",
            limit,
            limit_name: "largest buffer of the device",
        });
    }
    let descriptor = wgpu::BufferDescriptor { label: Some(argument), size, usage, mapped_at_creation: mapped };
    scoped(gpu, || gpu.device().create_buffer(&descriptor), Error::Device)
}
