//! The buffers of a call on a device. Calls take several sets in turn, so that no cache holds what they read.

use super::workloads::{Problem, running_estimates};
use std::borrow::Cow;
use wgpu_norm::gpu::Buffers;
use wgpu_norm::plan::{Extra, Gradients};
use wgpu_norm::wgpu::util::DeviceExt;
use wgpu_norm::{Data, Wanted, wgpu};

/// Bytes that a round of calls touches at least.
const ROUND: u64 = 128 << 20;
/// Sets of buffers at most.
const MOST_SETS: u64 = 64;

/// How many sets there are, where one call touches so many bytes.
pub(crate) fn count(bytes: u64) -> u64 {
    ROUND.div_ceil(bytes.max(1)).clamp(1, MOST_SETS)
}

/// The buffers of a call.
pub(crate) struct Set {
    pub(crate) input: wgpu::Buffer,
    pub(crate) grad_output: Option<wgpu::Buffer>,
    /// Of a backward pass the input's gradient.
    output: wgpu::Buffer,
    statistics: wgpu::Buffer,
    weight: Option<wgpu::Buffer>,
    bias: Option<wgpu::Buffer>,
    of_weight: Option<wgpu::Buffer>,
    of_bias: Option<wgpu::Buffer>,
    extra: Extra<Option<wgpu::Buffer>>,
    of_extra: Extra<Option<wgpu::Buffer>>,
    running: Option<[wgpu::Buffer; 3]>,
}

impl Set {
    /// As many as calls take in turn, with places for gradients where any are `wanted`.
    pub(crate) fn round(device: &wgpu::Device, problem: &Problem, wanted: Option<Wanted>) -> Vec<Self> {
        let tensors = if wanted.is_some() { 3 } else { 2 };
        (0..count(tensors * problem.plan.tensor_bytes())).map(|_| Self::new(device, problem, wanted)).collect()
    }

    fn new(device: &wgpu::Device, problem: &Problem, wanted: Option<Wanted>) -> Self {
        let upload = |data: &Data| upload(device, data.bytes());
        let gradients = Gradients::zeros(&problem.plan, wanted.unwrap_or_default());
        Self {
            input: upload(&problem.input),
            grad_output: wanted.map(|_| upload(&problem.grad_output)),
            output: empty(device, problem.plan.tensor_bytes()),
            statistics: empty(device, 16 * problem.plan.kept_statistics() as u64),
            weight: problem.weight.as_ref().map(upload),
            bias: problem.bias.as_ref().map(upload),
            of_weight: gradients.weight.as_ref().map(upload),
            of_bias: gradients.bias.as_ref().map(upload),
            extra: problem.extra.as_ref().map(|data| data.as_ref().map(upload)),
            of_extra: gradients.extra.as_ref().map(|data| data.as_ref().map(upload)),
            running: problem.running.as_ref().map(|running| {
                let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
                [bytes(&running.mean), bytes(&running.var), vec![0; 8]].map(|bytes| self::upload(device, &bytes))
            }),
        }
    }

    /// What a forward pass binds; with a place for its statistics where it `saves` them.
    pub(crate) fn forward(&self, problem: &Problem, saves: bool) -> Buffers<'_> {
        let mut buffers = self.parameters(Buffers::new(self.input.slice(..), self.output.slice(..)));
        if saves {
            buffers = buffers.statistics(self.statistics.slice(..));
        }
        if let Some([mean, var, counter]) = &self.running {
            buffers = buffers.running(mean.slice(..), var.slice(..));
            if problem.plan.running_update().is_some_and(|update| update.counter) {
                buffers = buffers.num_batches_tracked(counter.slice(..));
            }
        }
        buffers
    }

    /// What a backward pass binds.
    pub(crate) fn backward(&self) -> Buffers<'_> {
        let grad_output = self.grad_output.as_ref().unwrap_or(&self.input);
        let buffers = Buffers::backward(self.input.slice(..), grad_output.slice(..), self.statistics.slice(..));
        self.parameters(buffers)
            .grad_input(self.output.slice(..))
            .grad_weight(whole(&self.of_weight))
            .grad_bias(whole(&self.of_bias))
            .grad_extra(self.of_extra.as_ref().map(whole))
    }

    fn parameters<'a>(&'a self, buffers: Buffers<'a>) -> Buffers<'a> {
        buffers.weight(whole(&self.weight)).bias(whole(&self.bias)).extra(self.extra.as_ref().map(whole))
    }

    /// What a pass writes, each with a tensor that is stored in the same way: the output, or the gradients of input,
    /// weight and bias.
    pub(crate) fn results(&self, problem: &Problem) -> Vec<Written<'_>> {
        let parameters = [(&self.of_weight, &problem.weight), (&self.of_bias, &problem.bias)];
        let parameters = parameters.into_iter().filter_map(|(buffer, like)| buffer.as_ref().zip(like.clone()));
        std::iter::once((&self.output, problem.input.clone())).chain(parameters).collect()
    }

    /// And what it writes beside: the gradients of what only some normalizations learn, where there are any, or the
    /// running estimates, which each call moves.
    pub(crate) fn beside(&self, problem: &Problem) -> Vec<Written<'_>> {
        if self.grad_output.is_some() {
            let extra = self.of_extra.as_ref().zip(problem.extra.as_ref()).into_array().into_iter();
            return extra.filter_map(|(buffer, like)| buffer.as_ref().zip(like.clone())).collect();
        }
        let running = self.running.iter().zip(&problem.running);
        running.flat_map(|(buffers, like)| buffers.iter().zip(running_estimates(like))).collect()
    }
}

/// A buffer that a pass writes, and a tensor that is stored as it is.
pub(crate) type Written<'a> = (&'a wgpu::Buffer, Data);

/// All of a buffer, if there is one.
fn whole(buffer: &Option<wgpu::Buffer>) -> Option<wgpu::BufferSlice<'_>> {
    buffer.as_ref().map(|buffer| buffer.slice(..))
}

/// A buffer with this content, which can be written again.
fn upload(device: &wgpu::Device, bytes: &[u8]) -> wgpu::Buffer {
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let descriptor = wgpu::util::BufferInitDescriptor { label: None, contents: &whole_words(bytes), usage };
    device.create_buffer_init(&descriptor)
}

/// Filled up with zeros to words, of which all that goes to a device has to be made.
pub(crate) fn whole_words(bytes: &[u8]) -> Cow<'_, [u8]> {
    let len = bytes.len().next_multiple_of(4).max(4);
    if len == bytes.len() {
        return Cow::Borrowed(bytes);
    }
    let mut filled = bytes.to_vec();
    filled.resize(len, 0);
    Cow::Owned(filled)
}

/// A buffer of zeros.
pub(crate) fn empty(device: &wgpu::Device, bytes: u64) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: bytes.next_multiple_of(4).max(16),
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}
