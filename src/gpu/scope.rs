//! What a device has to say against what it was asked for. Native backends say it at once, a browser's later.

use super::pipelines::Gpu;
use crate::error::{Error, Result};
use std::fmt::{self, Debug, Formatter};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What the scopes of a piece of work are going to say.
#[cfg(not(target_family = "wasm"))]
type Verdict = Pin<Box<dyn Future<Output = Option<Error>> + Send>>;
#[cfg(target_family = "wasm")]
type Verdict = Pin<Box<dyn Future<Output = Option<Error>>>>;

/// Verdicts that were not there yet when their work was done.
#[derive(Default)]
pub(super) struct Verdicts(Mutex<Vec<Verdict>>);

impl Debug for Verdicts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Verdicts({})", self.pending().len())
    }
}

impl Verdicts {
    /// A thread that panicked while it held the lock left a list of whole verdicts.
    fn pending(&self) -> MutexGuard<'_, Vec<Verdict>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a verdict; the first error of those that are there by now, this one's or an earlier one's.
    fn add(&self, verdict: Verdict) -> Result<()> {
        let mut pending = self.pending();
        pending.push(verdict);
        let mut found = None;
        pending.retain_mut(|verdict| match verdict.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(error) => {
                found = found.take().or(error);
                false
            }
            Poll::Pending => true,
        });
        found.map_or(Ok(()), Err)
    }

    /// Waits for all.
    async fn all(&self) -> Result<()> {
        let pending = std::mem::take(&mut *self.pending());
        let mut found = None;
        for verdict in pending {
            let error = verdict.await;
            found = found.or(error);
        }
        found.map_or(Ok(()), Err)
    }
}

impl Gpu {
    /// Waits until the device has said what it has against anything that was prepared or bound so far.
    ///
    /// Only a browser's device takes its time: there [`prepare`](Self::prepare) and [`bind`](super::Prepared::bind)
    /// return before it has compiled a kernel or found the memory, and what fails is an error here, or of the next call
    /// that it has arrived by. A native device says it at once.
    ///
    /// # Errors
    ///
    /// When the device refused something.
    pub async fn settled(&self) -> Result<()> {
        self.verdicts.all().await
    }
}

/// Runs `work` in error scopes of its own: what wgpu has to say against it comes back, as this `error` where it is
/// neither a loss nor want of memory; nothing reaches the application's handler, and no scope is left open.
///
/// A loss shows in no scope: wgpu tells the application's callback alone, and what it makes from then on is invalid.
/// So where something has to be valid afterwards, [`check_alive`] follows.
pub(super) fn scoped<T>(
    gpu: &Gpu,
    work: impl FnOnce() -> T,
    error: impl FnOnce(String) -> Error + Send + 'static,
) -> Result<T> {
    let scopes = Scopes::open(&gpu.device);
    let done = work();
    let (said, device) = (scopes.closed(), gpu.device.clone());
    let verdict = async move {
        let said = said.await?;
        let message = said.to_string().trim_end().to_owned();
        Some(match said {
            // What is made of something invalid is refused as if it were the caller's fault.
            _ if is_lost(&device) => Error::DeviceLost(message),
            wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory(message),
            _ => error(message),
        })
    };
    gpu.verdicts.add(Box::pin(verdict)).map(|()| done)
}

/// One scope for each kind of error.
struct Scopes {
    memory: wgpu::ErrorScopeGuard,
    internal: wgpu::ErrorScopeGuard,
    validation: wgpu::ErrorScopeGuard,
}

impl Scopes {
    fn open(device: &wgpu::Device) -> Self {
        let open = |filter| device.push_error_scope(filter);
        Self {
            memory: open(wgpu::ErrorFilter::OutOfMemory),
            internal: open(wgpu::ErrorFilter::Internal),
            validation: open(wgpu::ErrorFilter::Validation),
        }
    }

    /// The error that caused all others, if there is one: nothing is valid for want of memory.
    fn closed(self) -> impl Future<Output = Option<wgpu::Error>> {
        let (validation, internal, memory) = (self.validation.pop(), self.internal.pop(), self.memory.pop());
        async move { [memory.await, internal.await, validation.await].into_iter().flatten().next() }
    }
}

/// Whether the device still makes something.
pub(super) fn check_alive(device: &wgpu::Device) -> Result<()> {
    if is_lost(device) { Err(lost()) } else { Ok(()) }
}

/// The error for what a lost device leaves unmade.
pub(super) fn lost() -> Error {
    Error::DeviceLost("it makes no buffers any more".into())
}

/// Whether it makes invalid buffers without a word. A browser says of a loss what it says of anything else, later.
fn is_lost(device: &wgpu::Device) -> bool {
    if cfg!(target_family = "wasm") {
        return false;
    }
    let descriptor = wgpu::BufferDescriptor {
        label: Some("wgpu-norm.alive"),
        size: 4,
        usage: wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: true,
    };
    let scopes = Scopes::open(device);
    let buffer = device.create_buffer(&descriptor);
    let said = std::pin::pin!(scopes.closed()).poll(&mut Context::from_waker(Waker::noop()));
    matches!(said, Poll::Ready(None)) && buffer.slice(..).get_mapped_range_mut().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{poll_fn, ready};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn lost() -> Error {
        Error::Device("lost".into())
    }

    /// An error that is there once the flag is set.
    fn late(there: &Arc<AtomicBool>) -> Verdict {
        let there = there.clone();
        let verdict = move |context: &mut Context<'_>| {
            context.waker().wake_by_ref();
            if there.load(Ordering::Relaxed) { Poll::Ready(Some(lost())) } else { Poll::Pending }
        };
        Box::pin(poll_fn(verdict))
    }

    #[test]
    fn a_verdict_that_is_there_is_told_at_once() {
        let verdicts = Verdicts::default();
        assert_eq!(verdicts.add(Box::pin(ready(None))), Ok(()));
        assert_eq!(verdicts.add(Box::pin(ready(Some(lost())))), Err(lost()));
        assert_eq!(pollster::block_on(verdicts.all()), Ok(()), "it is told once");
    }

    #[test]
    fn a_late_one_is_told_by_the_next_call_or_to_who_waits() {
        let (verdicts, there) = (Verdicts::default(), Arc::new(AtomicBool::new(false)));
        assert_eq!(verdicts.add(late(&there)), Ok(()));
        assert_eq!(verdicts.add(late(&there)), Ok(()));
        assert_eq!(format!("{verdicts:?}"), "Verdicts(2)");
        there.store(true, Ordering::Relaxed);
        assert_eq!(verdicts.add(Box::pin(ready(None))), Err(lost()));
        assert_eq!(format!("{verdicts:?}"), "Verdicts(0)");

        there.store(false, Ordering::Relaxed);
        assert_eq!(verdicts.add(late(&there)), Ok(()));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| pollster::block_on(verdicts.all()));
            there.store(true, Ordering::Relaxed);
            assert_eq!(waits.join().expect("it does not panic"), Err(lost()));
        });
    }

    /// llvmpipe by GL names a largest buffer that it refuses to give; an odd size, which no tensor has.
    #[test]
    fn a_buffer_for_which_there_is_no_memory_is_an_error_of_memory() {
        let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
        let adapters = pollster::block_on(wgpu::Instance::new(descriptor).enumerate_adapters(wgpu::Backends::GL));
        for adapter in adapters.iter().filter(|adapter| adapter.get_info().name.contains("llvmpipe")) {
            let limits = adapter.limits();
            let size = limits.max_buffer_size;
            let descriptor = wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
            let (device, _queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("it opens");
            let usage = wgpu::BufferUsages::STORAGE;
            let buffer = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
            let gpu = Gpu::new(&device);
            let made = scoped(&gpu, || device.create_buffer(&buffer), Error::Device);
            assert!(matches!(made, Err(Error::OutOfMemory(_))), "{size} bytes: {made:?}");
            assert_eq!(check_alive(&device), Ok(()), "the device lives on");
        }
    }
}
