//! What the device wrote, on the host.

/// Records a copy of a buffer into one that the host can read.
pub(crate) fn record_copy(
    device: &wgpu::Device,
    encoder: &mut wgpu::CommandEncoder,
    buffer: &wgpu::Buffer,
) -> wgpu::Buffer {
    let staging = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("staging"),
        size: buffer.size(),
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size());
    staging
}

/// The values of such a copy, once the device has made it.
pub(crate) fn read<T: bytemuck::Pod>(
    device: &wgpu::Device,
    staging: &wgpu::Buffer,
) -> Result<Vec<T>, Box<dyn std::error::Error>> {
    staging.slice(..).map_async(wgpu::MapMode::Read, |_| ());
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let bytes = staging.slice(..).get_mapped_range()?;
    Ok(bytemuck::pod_collect_to_vec(&bytes))
}
