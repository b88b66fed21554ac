//! What a device offers and what to ask an adapter for.

use super::capabilities::{Capabilities, EXCHANGED_BYTES, MOST_INVOCATIONS};

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

/// The most storage buffers that a kernel binds, which is what `wgpu::Limits::defaults` allow. A device with fewer
/// runs the kernels that bind no more than it has.
pub const MOST_STORAGE_BUFFERS: u32 = 8;

/// `base`, raised to what the adapter offers where that lets the kernels take larger pieces, and to as many storage
/// buffers as a kernel binds: wgpu's own defaults stop at bindings of 128 MiB, buffers of 256 MiB and workgroups of 256
/// invocations, and those for weak adapters at 4 storage buffers and less than 16 KiB a workgroup. Where `base` leaves no
/// room for compute at all, as `wgpu::Limits::downlevel_webgl2_defaults` does, there is as much as the adapter has.
#[must_use]
pub fn recommended_limits(adapter: &wgpu::Adapter, base: wgpu::Limits) -> wgpu::Limits {
    let best = adapter.limits();
    wgpu::Limits {
        max_storage_buffer_binding_size: best.max_storage_buffer_binding_size.max(base.max_storage_buffer_binding_size),
        max_buffer_size: best.max_buffer_size.max(base.max_buffer_size),
        max_compute_invocations_per_workgroup: best
            .max_compute_invocations_per_workgroup
            .min(MOST_INVOCATIONS)
            .max(base.max_compute_invocations_per_workgroup),
        max_compute_workgroup_storage_size: best
            .max_compute_workgroup_storage_size
            .min(MOST_INVOCATIONS * EXCHANGED_BYTES)
            .max(base.max_compute_workgroup_storage_size),
        max_compute_workgroup_size_x: best
            .max_compute_workgroup_size_x
            .min(MOST_INVOCATIONS)
            .max(base.max_compute_workgroup_size_x),
        max_compute_workgroup_size_y: best.max_compute_workgroup_size_y.min(1).max(base.max_compute_workgroup_size_y),
        max_compute_workgroup_size_z: best.max_compute_workgroup_size_z.min(1).max(base.max_compute_workgroup_size_z),
        max_compute_workgroups_per_dimension: match base.max_compute_workgroups_per_dimension {
            0 => best.max_compute_workgroups_per_dimension,
            wanted => wanted,
        },
        max_storage_buffers_per_shader_stage: best
            .max_storage_buffers_per_shader_stage
            .min(MOST_STORAGE_BUFFERS)
            .max(base.max_storage_buffers_per_shader_stage),
        min_storage_buffer_offset_alignment: best
            .min_storage_buffer_offset_alignment
            .min(base.min_storage_buffer_offset_alignment),
        ..base
    }
}

impl Capabilities {
    /// The same with bindings, dispatches and offsets within the device's own limits.
    pub(super) fn within(self, own: &Self) -> Self {
        Self {
            max_binding: self.max_binding.min(own.max_binding),
            max_workgroups: self.max_workgroups.min(own.max_workgroups),
            storage_alignment: self.storage_alignment.max(own.storage_alignment),
            uniform_alignment: self.uniform_alignment.max(own.uniform_alignment),
            ..self
        }
    }

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
            // Lengths of bindings are 32 bits wide in Metal's shaders, and wgpu's other backends stop here by themselves.
            max_binding: limits.max_storage_buffer_binding_size.min(i32::MAX as u64),
            max_workgroups: limits.max_compute_workgroups_per_dimension,
            max_invocations: limits
                .max_compute_invocations_per_workgroup
                .min(limits.max_compute_workgroup_size_x)
                .min(limits.max_compute_workgroup_storage_size / EXCHANGED_BYTES),
            storage_alignment: limits.min_storage_buffer_offset_alignment,
            uniform_alignment: limits.min_uniform_buffer_offset_alignment,
        }
    }
}
