//! One invocation of arithmetic that no compiler can foresee.

use super::pipelines::Gpu;
use super::readback::Reads;
use super::scope::scoped;
use super::uploads::{allocate, upload};
use crate::error::{Error, Result};
use wgpu::BufferUsages;

/// What the device makes of the operands, in the order in which `probe.wgsl` has both.
pub(crate) async fn probe(gpu: &Gpu, queue: &wgpu::Queue, operands: &[f32], results: usize) -> Result<Vec<f32>> {
    let pipeline = compile(gpu)?;
    let operands = upload(gpu, "operands", bytemuck::cast_slice(operands), BufferUsages::empty())?;
    let mut results = vec![0.0; results];
    let place = allocate(gpu, "results", size_of_val(&results[..]) as u64, BufferUsages::COPY_SRC)?;
    scoped(gpu, || dispatch(gpu.device(), queue, &pipeline, &[&operands, &place]), Error::Device)?;
    let mut reads = Reads::new(gpu);
    reads.add(&place, bytemuck::cast_slice_mut(&mut results))?;
    reads.now(queue).await?;
    Ok(results)
}

fn compile(gpu: &Gpu) -> Result<wgpu::ComputePipeline> {
    let make = || {
        let module = gpu.device().create_shader_module(wgpu::include_wgsl!("probe.wgsl"));
        gpu.device().create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("probe"),
            layout: None,
            module: &module,
            entry_point: Some("probe"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        })
    };
    scoped(gpu, make, |message| Error::Kernel { kernel: "probe".into(), message })
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
