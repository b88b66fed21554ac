//! What a device offers and what to ask an adapter for.

use super::strategy::Capabilities;
use crate::error::{Error, Result};
use std::future::Future;
use std::task::{Context, Poll, Waker};

/// The features without which the kernels do not run: none.
#[must_use]
pub fn required_features() -> wgpu::Features {
    wgpu::Features::empty()
}

/// The features that an adapter has and that make the kernels faster, to be added to a device request.
///
/// ```no_run
/// # async fn device(adapter: wgpu::Adapter) -> Result<(wgpu::Device, wgpu::Queue), wgpu::RequestDeviceError> {
/// let descriptor = wgpu::DeviceDescriptor {
///     required_features: wgpu_norm::gpu::required_features() | wgpu_norm::gpu::optional_features(&adapter),
///     required_limits: wgpu_norm::gpu::recommended_limits(&adapter, wgpu::Limits::default()),
///     ..Default::default()
/// };
/// adapter.request_device(&descriptor).await
/// # }
/// ```
#[must_use]
pub fn optional_features(adapter: &wgpu::Adapter) -> wgpu::Features {
    adapter.features() & (wgpu::Features::SUBGROUP | wgpu::Features::SHADER_F16)
}

/// `base`, raised to what the adapter offers where that lets the kernels take larger pieces: wgpu's own
/// defaults stop at bindings of 128 MiB and buffers of 256 MiB.
#[must_use]
pub fn recommended_limits(adapter: &wgpu::Adapter, base: wgpu::Limits) -> wgpu::Limits {
    let best = adapter.limits();
    wgpu::Limits {
        max_storage_buffer_binding_size: best.max_storage_buffer_binding_size.max(base.max_storage_buffer_binding_size),
        max_buffer_size: best.max_buffer_size.max(base.max_buffer_size),
        min_storage_buffer_offset_alignment: best
            .min_storage_buffer_offset_alignment
            .min(base.min_storage_buffer_offset_alignment),
        ..base
    }
}

impl Capabilities {
    /// What the device, not its adapter, offers.
    #[must_use]
    pub fn of(device: &wgpu::Device) -> Self {
        let (features, limits, info) = (device.features(), device.limits(), device.adapter_info());
        let sizes = (info.subgroup_min_size.max(1), info.subgroup_max_size);
        let fits = sizes.1 <= limits.max_compute_invocations_per_workgroup;
        Self {
            emulated: info.device_type == wgpu::DeviceType::Cpu,
            subgroups: (features.contains(wgpu::Features::SUBGROUP) && fits).then_some(sizes),
            native_f16: features.contains(wgpu::Features::SHADER_F16),
            max_binding: limits.max_storage_buffer_binding_size,
            max_workgroups: limits.max_compute_workgroups_per_dimension,
            max_invocations: limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x),
            storage_alignment: limits.min_storage_buffer_offset_alignment,
            uniform_alignment: limits.min_uniform_buffer_offset_alignment,
        }
    }
}

/// Runs `work` in error scopes of its own: what wgpu has to say against it comes back, nothing reaches
/// the application's handler, and no scope is left open.
///
/// A loss shows in no scope: wgpu tells the application's callback alone, and what it makes from then on is invalid.
/// So where something has to be valid afterwards, [`check_alive`] follows.
pub(super) fn scoped<T>(device: &wgpu::Device, work: impl FnOnce() -> T) -> Result<T> {
    match in_scopes(device, work) {
        (done, None) => Ok(done),
        // What is made of something invalid is refused as if it were the caller's fault.
        (_, Some(error)) if is_lost(device) => Err(Error::DeviceLost(error.to_string())),
        (_, Some(error @ wgpu::Error::OutOfMemory { .. })) => Err(Error::OutOfMemory(error.to_string())),
        (_, Some(error)) => Err(Error::Device(error.to_string())),
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

/// Whether it makes invalid buffers without a word.
fn is_lost(device: &wgpu::Device) -> bool {
    let descriptor = wgpu::BufferDescriptor {
        label: Some("wgpu-norm.alive"),
        size: 4,
        usage: wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: true,
    };
    let (buffer, error) = in_scopes(device, || device.create_buffer(&descriptor));
    error.is_none() && buffer.slice(..).get_mapped_range_mut().is_err()
}

/// What `work` gives, and the error that caused all others, if there was one: nothing is valid for want of memory.
fn in_scopes<T>(device: &wgpu::Device, work: impl FnOnce() -> T) -> (T, Option<wgpu::Error>) {
    let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
    let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let done = work();
    let [validation, internal, memory] = [now(validation.pop()), now(internal.pop()), now(memory.pop())];
    (done, [memory, internal, validation].into_iter().flatten().flatten().next())
}

/// The future's value if it is there already, as it is on every native backend.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let made = scoped(&device, || device.create_buffer(&buffer));
            assert!(matches!(made, Err(Error::OutOfMemory(_))), "{size} bytes: {made:?}");
            assert_eq!(check_alive(&device), Ok(()), "the device lives on");
        }
    }
}
