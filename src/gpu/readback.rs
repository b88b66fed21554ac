//! Host tensors in, host tensors out: uploads, records, submits, reads back.

use super::bind::Bound;
use super::buffers::Buffers;
use super::held::Held;
use super::options::Options;
use super::pipelines::Gpu;
use super::scope::{check_alive, scoped};
use crate::error::{Error, Result};
use crate::plan::{
    Arguments, Extra, GradientArguments, Gradients, Moments, Plan, RunningStatistics, Statistics, Wanted,
};
use crate::tensor::Data;
use futures_intrusive::channel::shared::{OneshotReceiver as Receiver, OneshotSender as Sender};
use std::sync::Arc;
use std::time::Duration;
use wgpu::BufferUsages;

/// Executes a plan on host tensors, whose parameters have one type; `input` is `None` to run in place of `output`. What
/// is `held` on the device is used there, and running estimates are moved there.
pub(super) async fn execute_of_one_type(
    (gpu, queue): (&Gpu, &wgpu::Queue),
    (plan, options): (&Plan, &Options),
    input: Option<&Data>,
    arguments: &mut Arguments<'_>,
    mut held: Option<&mut Held>,
    output: &mut Data,
) -> Result<()> {
    let prepared = gpu.prepare(plan, options)?;
    if plan.view().elements() == 0 {
        arguments.count_empty_batch(plan);
        return held.map_or(Ok(()), |held| held.count_empty_batch(plan));
    }
    let kept = BufferUsages::COPY_SRC;
    let tensor = upload(gpu, "input", input.unwrap_or(output).bytes(), kept)?;
    let bytes = output.bytes().len() as u64;
    let other = input.map(|_| allocate(gpu, "output", bytes, kept)).transpose()?;
    let result = other.as_ref().unwrap_or(&tensor);
    let (weight, bias) = parameters(gpu, (arguments.weight, arguments.bias), held.as_deref())?;
    let residual = upload_some(gpu, "residual", arguments.residual)?;
    let sum = residual.as_ref().map(|_| allocate(gpu, "sum", bytes, kept)).transpose()?;
    let saved = 16 * plan.kept_statistics();
    let statistics =
        arguments.statistics.as_ref().map(|_| allocate(gpu, "statistics", saved as u64, kept)).transpose()?;
    let extra = uploaded_extra(gpu, arguments.extra, held.as_deref())?;
    let labels =
        arguments.labels.map(|labels| upload(gpu, "labels", bytemuck::cast_slice(labels), BufferUsages::empty()));
    let labels = labels.transpose()?;
    let mut own = None;
    if let (Some(running), Some(_)) = (&arguments.running, plan.running_len()) {
        let mut uploaded = Held::new(gpu);
        uploaded.set_running(running)?;
        own = Some(uploaded);
    }
    if let (Some(held), Some(_)) = (&mut held, plan.running_update()) {
        held.unshare()?;
    }
    let estimates = own.as_ref().or(held.as_deref()).and_then(Held::running_buffers);

    let mut buffers = Buffers::new(tensor.slice(..), result.slice(..));
    if let Some(weight) = &weight {
        buffers = buffers.weight(weight.slice(..));
    }
    if let Some(bias) = &bias {
        buffers = buffers.bias(bias.slice(..));
    }
    if let (Some(residual), Some(sum)) = (&residual, &sum) {
        buffers = buffers.residual(residual.slice(..), sum.slice(..));
    }
    if let Some(statistics) = &statistics {
        buffers = buffers.statistics(statistics.slice(..));
    }
    buffers = buffers.extra(extra.as_ref().map(|buffer| buffer.as_ref().map(|buffer| buffer.slice(..))));
    if let Some(labels) = &labels {
        buffers = buffers.labels(labels.slice(..));
    }
    if let Some(running) = estimates {
        buffers = buffers.running(running.mean.slice(..), running.var.slice(..));
        if plan.running_update().is_some_and(|u| u.counter) {
            buffers = buffers.num_batches_tracked(running.counter.slice(..));
        }
    }
    let bound = prepared.bind(&buffers)?;

    let mut reads = Reads::new(gpu);
    reads.add(result, output.bytes().len())?;
    if let Some(sum) = &sum {
        reads.add(sum, output.bytes().len())?;
    }
    if let Some(statistics) = &statistics {
        reads.add(statistics, saved)?;
    }
    let update = plan.running_update();
    if let (Some(running), Some(_)) = (estimates, update) {
        running.read(&mut reads)?;
    }
    let mut mapped = reads.submit(queue, Some(&bound))?.copies().await?.into_iter();
    let mut next = || mapped.next().unwrap_or_default();
    copy(&next(), output.bytes_mut());
    if let (Some(_), Some(sum)) = (&sum, &mut arguments.sum) {
        copy(&next(), sum.bytes_mut());
    }
    if let Some(statistics) = &mut arguments.statistics {
        **statistics = statistics_from(&next(), plan.view().statistics());
    }
    if update.is_some() {
        let moved = [next(), next(), next()];
        match (&mut arguments.running, held) {
            (Some(running), _) => copy_running(&moved, running),
            (None, Some(held)) => held.moved(&moved),
            (None, None) => {}
        }
    }
    Ok(())
}

/// Running estimates from copies of their buffers; a counter that nobody keeps stays away.
pub(super) fn copy_running([mean, var, counter]: &[Vec<u8>; 3], into: &mut RunningStatistics) {
    copy(mean, bytemuck::cast_slice_mut(&mut into.mean));
    copy(var, bytemuck::cast_slice_mut(&mut into.var));
    into.num_batches_tracked.iter_mut().for_each(|batches| copy(counter, bytemuck::bytes_of_mut(batches)));
}

/// Executes a plan's backward pass on host tensors, whose parameters have one type; fills the gradients that are there.
pub(super) async fn backward_of_one_type(
    (gpu, queue): (&Gpu, &wgpu::Queue),
    (plan, (wanted, options)): (&Plan, (Wanted, &Options)),
    arguments: &GradientArguments<'_>,
    held: Option<&Held>,
    gradients: &mut Gradients,
) -> Result<()> {
    let prepared = gpu.prepare_backward(plan, wanted, options)?;
    if plan.view().elements() == 0 {
        return Ok(());
    }
    let none = BufferUsages::empty();
    let input = upload(gpu, "input", arguments.input.bytes(), none)?;
    let grad_output = upload(gpu, "grad_output", arguments.grad_output.bytes(), none)?;
    let statistics = upload(gpu, "statistics", bytemuck::cast_slice(&entries_of(arguments.statistics)), none)?;
    let (weight, bias) = parameters(gpu, (arguments.weight, arguments.bias), held)?;
    let extra = uploaded_extra(gpu, arguments.extra, held)?;
    let labels =
        arguments.labels.map(|labels| upload(gpu, "labels", bytemuck::cast_slice(labels), none)).transpose()?;
    let grad_sum = upload_some(gpu, "grad_sum", arguments.grad_sum)?;
    let grad_mean = upload_some(gpu, "grad_mean", arguments.grad_mean)?;
    let grad_std = upload_some(gpu, "grad_std", arguments.grad_std)?;
    let mut buffers = Buffers::backward(input.slice(..), grad_output.slice(..), statistics.slice(..));
    if let Some(weight) = &weight {
        buffers = buffers.weight(weight.slice(..));
    }
    if let Some(bias) = &bias {
        buffers = buffers.bias(bias.slice(..));
    }
    if let Some(grad_sum) = &grad_sum {
        buffers = buffers.grad_sum(grad_sum.slice(..));
    }
    buffers = buffers.extra(extra.as_ref().map(|buffer| buffer.as_ref().map(|buffer| buffer.slice(..))));
    if let Some(labels) = &labels {
        buffers = buffers.labels(labels.slice(..));
    }
    if grad_mean.is_some() || grad_std.is_some() {
        let of_mean = grad_mean.as_ref().map(|buffer| buffer.slice(..));
        buffers = buffers.grad_moments(of_mean, grad_std.as_ref().map(|buffer| buffer.slice(..)));
    }
    let place = |name, data: &Option<Data>| {
        let bytes = data.as_ref().map(|data| data.bytes().len() as u64);
        bytes.map(|bytes| allocate(gpu, name, bytes, BufferUsages::COPY_SRC)).transpose()
    };
    let of_input = place("grad_input", &gradients.input)?;
    let of_weight = place("grad_weight", &gradients.weight)?;
    let of_bias = place("grad_bias", &gradients.bias)?;
    let mut of_extra = Extra::default();
    for (name, (buffer, data)) in of_extra.as_mut().zip(gradients.extra.as_ref()).named() {
        *buffer = place(name, data)?;
    }
    let mut reads = Reads::new(gpu);
    let all = [(&of_input, &gradients.input), (&of_weight, &gradients.weight), (&of_bias, &gradients.bias)];
    for (buffer, data) in all.into_iter().chain(of_extra.as_ref().zip(gradients.extra.as_ref()).into_array()) {
        if let (Some(buffer), Some(data)) = (buffer, data) {
            reads.add(buffer, data.bytes().len())?;
        }
    }
    if let Some(buffer) = &of_input {
        buffers = buffers.grad_input(buffer.slice(..));
    }
    if let Some(buffer) = &of_weight {
        buffers = buffers.grad_weight(buffer.slice(..));
    }
    if let Some(buffer) = &of_bias {
        buffers = buffers.grad_bias(buffer.slice(..));
    }
    buffers = buffers.grad_extra(of_extra.as_ref().map(|buffer| buffer.as_ref().map(|buffer| buffer.slice(..))));
    let bound = prepared.bind(&buffers)?;
    let mut mapped = reads.submit(queue, Some(&bound))?.copies().await?.into_iter();
    let Gradients { input, weight, bias, extra } = gradients;
    for gradient in [input, weight, bias].into_iter().chain(extra.as_mut().into_array()).flatten() {
        copy(&mapped.next().unwrap_or_default(), gradient.bytes_mut());
    }
    Ok(())
}

/// The statistics that kernels keep: of each the mean, what f32 left of it, rstd, and the variance.
pub(super) fn statistics_from(bytes: &[u8], groups: usize) -> Statistics {
    let entries: Vec<[f32; 4]> = bytemuck::pod_collect_to_vec(bytes);
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

pub(super) fn copy(from: &[u8], into: &mut [u8]) {
    into.copy_from_slice(&from[..into.len()]);
}

/// Copies that the host can read.
pub(super) struct Reads<'a> {
    gpu: &'a Gpu,
    /// Of each what it is a copy of, and where that goes.
    copies: Vec<(wgpu::Buffer, wgpu::Buffer)>,
}

impl<'a> Reads<'a> {
    pub(super) fn new(gpu: &'a Gpu) -> Self {
        Self { gpu, copies: Vec::new() }
    }

    pub(super) fn add(&mut self, source: &wgpu::Buffer, bytes: usize) -> Result<()> {
        let size = (bytes as u64).next_multiple_of(4);
        let staging = create(self.gpu, "readback", size, BufferUsages::MAP_READ | BufferUsages::COPY_DST, false)?;
        self.copies.push((source.clone(), staging));
        Ok(())
    }

    /// The bytes of each buffer as they are.
    pub(super) async fn now(self, queue: &wgpu::Queue) -> Result<Vec<Vec<u8>>> {
        self.submit(queue, None)?.copies().await
    }

    /// Submits what was bound, if something was, and copies of the buffers as they are afterwards.
    pub(super) fn submit(self, queue: &wgpu::Queue, bound: Option<&Bound>) -> Result<Pending<'a>> {
        let submit = || {
            let label = Some("wgpu-norm");
            let mut encoder = self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
            if let Some(bound) = bound {
                bound.record_pass(&mut encoder);
            }
            for (source, staging) in &self.copies {
                encoder.copy_buffer_to_buffer(source, 0, staging, 0, staging.size());
            }
            let submission = queue.submit([encoder.finish()]);
            (submission, self.copies.into_iter().map(|(_, staging)| Copied::requested(staging)).collect())
        };
        let (submission, copies) = scoped(self.gpu, submit, Error::Device)?;
        Ok(Pending { gpu: self.gpu, submission, copies })
    }
}

/// Copies that a device was asked for.
pub(super) struct Pending<'a> {
    gpu: &'a Gpu,
    submission: wgpu::SubmissionIndex,
    copies: Vec<Copied>,
}

struct Copied {
    staging: wgpu::Buffer,
    news: Told,
    arrival: Receiver<Result<()>>,
}

impl Copied {
    fn requested(staging: wgpu::Buffer) -> Self {
        let (sender, arrival) = futures_intrusive::channel::shared::oneshot_channel();
        let news = Arc::new(sender);
        let sender = Arc::clone(&news);
        staging.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            // Whoever waited may have gone; then nobody wants the answer.
            let _ = sender.send(result.map_err(|error| Error::Device(error.to_string())));
        });
        Self { staging, news, arrival }
    }
}

impl Pending<'_> {
    /// The bytes of each buffer, when they are there.
    pub(super) async fn copies(self) -> Result<Vec<Vec<u8>>> {
        let Self { gpu, submission, copies } = self;
        let waiting = copies.iter().map(|copied| Arc::clone(&copied.news)).collect();
        poll(gpu.device(), submission, gpu.time_limit, waiting);
        gpu.settled().await?;
        let mut read = Vec::with_capacity(copies.len());
        for Copied { staging, arrival, .. } in copies {
            let news = arrival.receive().await.unwrap_or_else(|| Err(Error::Device("the result never came".into())));
            let view = news
                .and_then(|()| staging.slice(..).get_mapped_range().map_err(|error| Error::Device(error.to_string())));
            read.push(view.map_err(|error| blamed(gpu.device(), error))?.to_vec());
        }
        Ok(read)
    }
}

/// A failure as the loss that it comes from, if it does: a mapping does not say why there is none.
fn blamed(device: &wgpu::Device, error: Error) -> Error {
    match (error, check_alive(device)) {
        (Error::Device(message), Err(_)) => Error::DeviceLost(message),
        (error, _) => error,
    }
}

/// Weight and bias: what is held on the device, or uploaded.
pub(super) fn parameters(
    gpu: &Gpu,
    (weight, bias): (Option<&Data>, Option<&Data>),
    held: Option<&Held>,
) -> Result<(Option<wgpu::Buffer>, Option<wgpu::Buffer>)> {
    match held {
        Some(held) => Ok((held.weight_buffer(), held.bias_buffer())),
        None => Ok((upload_some(gpu, "weight", weight)?, upload_some(gpu, "bias", bias)?)),
    }
}

/// What only some normalizations learn, each where it is there: what is held on the device, or uploaded.
fn uploaded_extra(gpu: &Gpu, extra: Extra<Option<&Data>>, held: Option<&Held>) -> Result<Extra<Option<wgpu::Buffer>>> {
    if let Some(held) = held {
        return Ok(held.extra_buffers());
    }
    let mut uploaded = Extra::default();
    for (name, (buffer, data)) in uploaded.as_mut().zip(extra).named() {
        *buffer = upload_some(gpu, name, data)?;
    }
    Ok(uploaded)
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

fn create(gpu: &Gpu, argument: &'static str, size: u64, usage: BufferUsages, mapped: bool) -> Result<wgpu::Buffer> {
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

/// Who waits for a copy, to be told of it.
type Told = Arc<Sender<Result<()>>>;

/// Drives the device from a thread of its own, so that waiting for the result blocks no executor.
#[cfg(not(target_family = "wasm"))]
fn poll(device: &wgpu::Device, submission: wgpu::SubmissionIndex, time_limit: Duration, waiting: Vec<Told>) {
    let (own, later, others) = (device.clone(), submission.clone(), waiting.clone());
    let poll = move || Waiting::new(others).until(&own, later, time_limit);
    if std::thread::Builder::new().name("wgpu-norm poll".into()).spawn(poll).is_err() {
        // No thread to be had: waiting here is slower for others, but right.
        Waiting::new(waiting).until(device, submission, time_limit);
    }
}

/// Those who wait for a device. They are told even if wgpu panics, as it does when a device is lost while it is polled.
#[cfg(not(target_family = "wasm"))]
struct Waiting {
    senders: Vec<Told>,
    /// What they hear when this goes.
    news: Option<Error>,
}

#[cfg(not(target_family = "wasm"))]
impl Waiting {
    fn new(senders: Vec<Told>) -> Self {
        Self { senders, news: Some(Error::DeviceLost("it failed while it was waited for".into())) }
    }

    fn until(mut self, device: &wgpu::Device, submission: wgpu::SubmissionIndex, time_limit: Duration) {
        let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: Some(time_limit) };
        self.news = match device.poll(wait) {
            // Mappings have been answered, or are being answered by another thread that polls.
            Ok(_) => None,
            Err(wgpu::PollError::Timeout) => Some(Error::TimedOut { limit: time_limit }),
            Err(error) => Some(Error::Device(error.to_string())),
        };
    }
}

#[cfg(not(target_family = "wasm"))]
impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(news) = &self.news else { return };
        // The first answer counts: a mapping that came about stays one.
        self.senders.iter().for_each(|sender| drop(sender.send(Err(news.clone()))));
    }
}

/// A browser drives its devices itself.
#[cfg(target_family = "wasm")]
fn poll(_: &wgpu::Device, _: wgpu::SubmissionIndex, _: Duration, _: Vec<Told>) {}
