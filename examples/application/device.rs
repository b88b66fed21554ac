//! The application's own device.

/// A device for the application's own purposes, to which the engine's wishes are added.
pub(crate) async fn own_device() -> Result<(wgpu::Device, wgpu::Queue), Box<dyn std::error::Error>> {
    use wgpu_norm::gpu::{optional_features, recommended_limits, required_features};
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await?;
    let own_features = wgpu::Features::empty();
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("application"),
        required_features: own_features | required_features() | optional_features(&adapter),
        required_limits: recommended_limits(&adapter, wgpu::Limits::downlevel_defaults()),
        ..Default::default()
    };
    Ok(adapter.request_device(&descriptor).await?)
}
