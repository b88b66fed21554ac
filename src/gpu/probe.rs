//! One invocation of arithmetic that no compiler can foresee.

use super::device::scoped;
use super::pipelines::{Gpu, as_kernel};
use super::readback::{Reads, allocate, upload};
use crate::error::Result;
use wgpu::BufferUsages;

/// What the device makes of the operands, in the order in which `probe.wgsl` has both.
pub(crate) async fn probe(gpu: &Gpu, queue: &wgpu::Queue, operands: &[f32], results: usize) -> Result<Vec<f32>> {
    let pipeline = compile(gpu.device())?;
    let operands = upload(gpu, "operands", bytemuck::cast_slice(operands), BufferUsages::empty())?;
    let bytes = results * size_of::<f32>();
    let place = allocate(gpu, "results", bytes as u64, BufferUsages::COPY_SRC)?;
    scoped(gpu.device(), || dispatch(gpu.device(), queue, &pipeline, &[&operands, &place]))?;
    let mut reads = Reads::new(gpu);
    reads.add(&place, bytes)?;
    let read = reads.now(queue).await?;
    Ok(read.iter().flat_map(|bytes| bytemuck::pod_collect_to_vec(bytes)).collect())
}

fn compile(device: &wgpu::Device) -> Result<wgpu::ComputePipeline> {
    let made = scoped(device, || {
        let module = device.create_shader_module(wgpu::include_wgsl!("probe.wgsl"));
        device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("probe"),
            layout: None,
            module: &module,
            entry_point: Some("probe"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        })
    });
    made.map_err(|error| as_kernel(error, "probe".into(), str::to_owned))
}

fn dispatch(device: &wgpu::Device, queue: &wgpu::Queue, pipeline: &wgpu::ComputePipeline, buffers: &[&wgpu::Buffer]) {
    let entries: Vec<wgpu::BindGroupEntry<'_>> = (0..)
        .zip(buffers)
        .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
        .collect();
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("probe"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &entries,
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("probe") });
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &bind_group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
    }
    queue.submit([encoder.finish()]);
}
