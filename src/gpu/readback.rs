//! Submits, waits, and reads back: from the buffer that the host can map straight to where the values belong.

use super::bind::Bound;
use super::pipelines::Gpu;
use super::scope::{check_alive, scoped};
use super::uploads::create;
use crate::error::{Error, Result};
use crate::tensor::Data;
use futures_intrusive::channel::shared::{OneshotReceiver as Receiver, OneshotSender as Sender};
use std::sync::Arc;
use std::time::Duration;
use wgpu::BufferUsages;

/// What is read, and where it goes.
pub(super) struct Reads<'a> {
    gpu: &'a Gpu,
    reads: Vec<Read<'a>>,
}

struct Read<'a> {
    source: wgpu::Buffer,
    /// A copy of it that the host can map.
    staging: wgpu::Buffer,
    into: &'a mut [u8],
}

impl<'a> Reads<'a> {
    pub(super) fn new(gpu: &'a Gpu) -> Self {
        Self { gpu, reads: Vec::new() }
    }

    /// The beginning of a buffer, as much as there is a place for.
    pub(super) fn add(&mut self, source: &wgpu::Buffer, into: &'a mut [u8]) -> Result<()> {
        let size = (into.len() as u64).next_multiple_of(4);
        let staging = create(self.gpu, "readback", size, BufferUsages::MAP_READ | BufferUsages::COPY_DST, false)?;
        self.reads.push(Read { source: source.clone(), staging, into });
        Ok(())
    }

    /// The values of a tensor, if there is one.
    pub(super) fn add_some(&mut self, source: &Option<wgpu::Buffer>, into: Option<&'a mut Data>) -> Result<()> {
        source.iter().zip(into).try_for_each(|(source, data)| self.add(source, data.bytes_mut()))
    }

    /// The buffers as they are.
    pub(super) async fn now(self, queue: &wgpu::Queue) -> Result<()> {
        self.submit(queue, None)?.arrive().await
    }

    /// Submits what was bound, if something was, and copies of the buffers as they are afterwards.
    pub(super) fn submit(self, queue: &wgpu::Queue, bound: Option<&Bound>) -> Result<Pending<'a>> {
        let submit = || {
            let label = Some("wgpu-norm");
            let mut encoder = self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
            if let Some(bound) = bound {
                bound.record_pass(&mut encoder);
            }
            for Read { source, staging, .. } in &self.reads {
                encoder.copy_buffer_to_buffer(source, 0, staging, 0, staging.size());
            }
            let submission = queue.submit([encoder.finish()]);
            (submission, self.reads.into_iter().map(Copied::requested).collect())
        };
        let (submission, copies) = scoped(self.gpu, submit, Error::Device)?;
        Ok(Pending { gpu: self.gpu, submission, copies })
    }
}

/// Copies that a device was asked for.
pub(super) struct Pending<'a> {
    gpu: &'a Gpu,
    submission: wgpu::SubmissionIndex,
    copies: Vec<Copied<'a>>,
}

struct Copied<'a> {
    staging: wgpu::Buffer,
    into: &'a mut [u8],
    news: Told,
    arrival: Receiver<Result<()>>,
}

impl<'a> Copied<'a> {
    fn requested(Read { staging, into, .. }: Read<'a>) -> Self {
        let (sender, arrival) = futures_intrusive::channel::shared::oneshot_channel();
        let news = Arc::new(sender);
        let sender = Arc::clone(&news);
        staging.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            // Whoever waited may have gone; then nobody wants the answer.
            let _ = sender.send(result.map_err(|error| Error::Device(error.to_string())));
        });
        Self { staging, into, news, arrival }
    }
}

impl Pending<'_> {
    /// Waits, and has all buffers where they go, or on failure none.
    pub(super) async fn arrive(self) -> Result<()> {
        let Self { gpu, submission, copies } = self;
        let waiting = copies.iter().map(|copied| Arc::clone(&copied.news)).collect();
        poll(gpu.device(), submission, gpu.time_limit, waiting);
        gpu.settled().await?;
        let mut mapped = Vec::with_capacity(copies.len());
        for Copied { staging, into, arrival, .. } in copies {
            let news = arrival.receive().await.unwrap_or_else(|| Err(Error::Device("the result never came".into())));
            let view = news
                .and_then(|()| staging.slice(..).get_mapped_range().map_err(|error| Error::Device(error.to_string())));
            mapped.push((view.map_err(|error| blamed(gpu.device(), error))?, into));
        }
        mapped.into_iter().for_each(|(view, into)| into.copy_from_slice(&view[..into.len()]));
        Ok(())
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
