//! Submits, waits, and reads back.

use super::bind::Bound;
use super::pipelines::Gpu;
use super::scope::{check_alive, scoped};
use super::uploads::create;
use crate::error::{Error, Result};
use crate::plan::RunningStatistics;
use futures_intrusive::channel::shared::{OneshotReceiver as Receiver, OneshotSender as Sender};
use std::sync::Arc;
use std::time::Duration;
use wgpu::BufferUsages;

/// Running estimates from copies of their buffers; a counter that nobody keeps stays away.
pub(super) fn copy_running([mean, var, counter]: &[Vec<u8>; 3], into: &mut RunningStatistics) {
    copy(mean, bytemuck::cast_slice_mut(&mut into.mean));
    copy(var, bytemuck::cast_slice_mut(&mut into.var));
    into.num_batches_tracked.iter_mut().for_each(|batches| copy(counter, bytemuck::bytes_of_mut(batches)));
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
pub(super) fn blamed(device: &wgpu::Device, error: Error) -> Error {
    match (error, check_alive(device)) {
        (Error::Device(message), Err(_)) => Error::DeviceLost(message),
        (error, _) => error,
    }
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
