use super::bind::Bound;

impl Bound {
    /// Records the dispatches into a compute pass of the application's, any number of times.
    ///
    /// Needs no queue, allocates nothing of its own, submits nothing and cannot fail. wgpu orders the
    /// dispatches of a pass by what they read and write, so norms that follow one another may share one. The pass's
    /// pipeline and bind group 0 are others afterwards.
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        for step in &self.steps {
            pass.set_pipeline(&step.pipeline);
            pass.set_bind_group(0, &step.bind_group, &[]);
            pass.dispatch_workgroups(step.workgroups[0], step.workgroups[1], 1);
        }
    }

    /// As [`record`](Self::record), in a pass of its own on the encoder.
    pub fn record_pass(&self, encoder: &mut wgpu::CommandEncoder) {
        let mut pass = encoder
            .begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("wgpu-norm"), timestamp_writes: None });
        self.record(&mut pass);
    }
}
