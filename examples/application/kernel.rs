//! A kernel of the application's own.

/// Lanes of a workgroup, in every kernel that is made here.
const LANES: usize = 64;

/// A kernel with its buffers.
pub(crate) struct Kernel {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    workgroups: u32,
}

impl Kernel {
    /// The one entry point of `source`, whose bindings from 0 on are `buffers`, for this many invocations.
    pub(crate) fn new(
        device: &wgpu::Device,
        label: &str,
        source: &str,
        buffers: &[&wgpu::Buffer],
        invocations: usize,
    ) -> Self {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(label),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(label),
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let entries: Vec<wgpu::BindGroupEntry<'_>> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(label),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        // More than there are numbers for are wgpu's to refuse.
        let workgroups = u32::try_from(invocations.div_ceil(LANES)).unwrap_or(u32::MAX);
        Self { pipeline, bind_group, workgroups }
    }

    pub(crate) fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(self.workgroups, 1, 1);
    }
}
