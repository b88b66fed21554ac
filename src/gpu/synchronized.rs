//! Passes on host tensors whose statistics are those of several ranks: one half, an exchange, the other half.

use super::buffers::Buffers;
use super::held::Held;
use super::options::{Options, Part};
use super::pipelines::Gpu;
use super::readback::{Reads, allocate, copy, entries_of, parameters, statistics_from, upload, upload_some};
use super::scope::scoped;
use crate::error::{Error, Result};
use crate::plan::{
    Arguments, GradientArguments, Gradients, GroupSums, Moments, Peers, Plan, RunningStatistics, Shard, Statistics,
    Wanted,
};
use crate::tensor::Data;
use wgpu::BufferUsages;

/// This device's part in a pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rank<'a> {
    pub(crate) gpu: &'a Gpu,
    pub(crate) queue: &'a wgpu::Queue,
    pub(crate) plan: &'a Plan,
    pub(crate) peers: &'a dyn Peers,
    pub(crate) options: Options,
}

/// Written by a kernel, read back, replaced, read by a kernel.
const EXCHANGED: BufferUsages = BufferUsages::COPY_SRC.union(BufferUsages::COPY_DST);

impl Rank<'_> {
    /// As [`execute`](super::mixed::execute).
    pub(crate) async fn forward(
        &self,
        input: Option<&Data>,
        arguments: &mut Arguments<'_>,
        mut held: Option<&mut Held>,
        output: &mut Data,
    ) -> Result<()> {
        let (gpu, plan) = (self.gpu, self.plan);
        if plan.view().elements() == 0 {
            let zeros = vec![0.0; plan.view().statistics()];
            let nothing = Shard { count: 0.0, moments: Moments { mean: zeros.clone(), var: zeros } };
            let running = match &held {
                Some(held) => held.running().cloned(),
                None => arguments.running.as_deref().cloned(),
            };
            let Some(all) = self.peers.merged(plan, nothing)? else { return Ok(()) };
            return self.settle(&all, running, arguments, held).map(drop);
        }
        let options = self.options.in_place(false);
        let reduce = gpu.prepare(plan, &options.part(Part::Reduce))?;
        let bytes = output.bytes().len();
        let tensor = upload(gpu, "input", input.unwrap_or(output).bytes(), BufferUsages::empty())?;
        let residual = upload_some(gpu, "residual", arguments.residual)?;
        let sum = residual.as_ref().map(|_| allocate(gpu, "sum", bytes as u64, BufferUsages::COPY_SRC)).transpose()?;
        let entries = 16 * plan.kept_statistics();
        let statistics = allocate(gpu, "statistics", entries as u64, EXCHANGED)?;
        let mut buffers = Buffers::reduce(tensor.slice(..), statistics.slice(..));
        if let (Some(residual), Some(sum)) = (&residual, &sum) {
            buffers = buffers.residual(residual.slice(..), sum.slice(..));
        }
        let mut reads = Reads::new(gpu);
        reads.add(&statistics, entries)?;
        let pending = reads.submit(self.queue, Some(&reduce.bind(&buffers)?))?;

        // While the device works: everything that the second half needs.
        let apply = gpu.prepare(plan, &options.part(Part::Apply))?;
        let result = allocate(gpu, "output", bytes as u64, BufferUsages::COPY_SRC)?;
        let (weight, bias) = parameters(gpu, (arguments.weight, arguments.bias), held.as_deref())?;
        let normalized = sum.as_ref().unwrap_or(&tensor);
        let mut buffers = Buffers::new(normalized.slice(..), result.slice(..)).statistics(statistics.slice(..));
        if let Some(weight) = &weight {
            buffers = buffers.weight(weight.slice(..));
        }
        if let Some(bias) = &bias {
            buffers = buffers.bias(bias.slice(..));
        }
        let apply = apply.bind(&buffers)?;

        let copies = pending.copies().await?;
        let running = match &held {
            Some(held) => held.running().cloned(),
            None => arguments.running.as_deref().cloned(),
        };
        let own = Shard { count: plan.count(), moments: moments_from(&copies[0]) };
        let Some(all) = self.peers.merged(plan, own)? else { return Ok(()) };
        let of_all = self.settle(&all, running, arguments, held.take())?;
        self.write(&statistics, bytemuck::cast_slice(&entries_of(&of_all)))?;

        let mut reads = Reads::new(gpu);
        reads.add(&result, bytes)?;
        if let Some(sum) = &sum {
            reads.add(sum, bytes)?;
        }
        let copies = reads.submit(self.queue, Some(&apply))?.copies().await?;
        copy(&copies[0], output.bytes_mut());
        if let (Some(copied), Some(sum)) = (copies.get(1), &mut arguments.sum) {
            copy(copied, sum.bytes_mut());
        }
        Ok(())
    }

    fn write(&self, buffer: &wgpu::Buffer, bytes: &[u8]) -> Result<()> {
        scoped(self.gpu, || self.queue.write_buffer(buffer, 0, bytes), Error::Device)
    }

    /// Moves the running estimates, and gives the statistics that everybody normalizes by.
    fn settle(
        &self,
        all: &Shard,
        running: Option<RunningStatistics>,
        arguments: &mut Arguments<'_>,
        held: Option<&mut Held>,
    ) -> Result<Statistics> {
        if let (Some(update), Some(mut running)) = (self.plan.source().running_update(), running) {
            update.apply(&mut running, all.count, (&all.moments.mean, &all.moments.var));
            match (held, &mut arguments.running) {
                (Some(held), _) => held.set_running(&running)?,
                (None, Some(own)) => **own = running,
                (None, None) => {}
            }
        }
        let eps = self.plan.eps();
        let rstd = all.moments.var.iter().map(|var| 1.0 / (var + eps).sqrt()).collect();
        let statistics = Statistics { mean: all.moments.mean.clone(), rstd, sources: Moments::default() };
        if let Some(kept) = &mut arguments.statistics {
            **kept = statistics.clone();
        }
        Ok(statistics)
    }

    /// As [`backward`](super::mixed::backward).
    pub(crate) async fn backward(
        &self,
        arguments: &GradientArguments<'_>,
        held: Option<&Held>,
        wanted: Wanted,
        gradients: &mut Gradients,
    ) -> Result<()> {
        let (gpu, plan) = (self.gpu, self.plan);
        if plan.view().elements() == 0 {
            let zeros = vec![0.0; plan.view().statistics()];
            return self.peers.summed(plan, GroupSums { products: zeros.clone(), gradients: zeros }).map(drop);
        }
        let none = BufferUsages::empty();
        let options = self.options.in_place(false).grad_sum(arguments.grad_sum.is_some());
        let reduce = gpu.prepare_backward(plan, wanted, &options.part(Part::Reduce))?;
        let input = upload(gpu, "input", arguments.input.bytes(), none)?;
        let grad_output = upload(gpu, "grad_output", arguments.grad_output.bytes(), none)?;
        let statistics = upload(gpu, "statistics", bytemuck::cast_slice(&entries_of(arguments.statistics)), none)?;
        let (weight, bias) = parameters(gpu, (arguments.weight, arguments.bias), held)?;
        let bytes = 8 * plan.view().statistics();
        let sums = allocate(gpu, "sums", bytes as u64, EXCHANGED)?;
        let mut common = Buffers::backward(input.slice(..), grad_output.slice(..), statistics.slice(..));
        common = common.sums(sums.slice(..));
        if let Some(weight) = &weight {
            common = common.weight(weight.slice(..));
        }
        if let Some(bias) = &bias {
            common = common.bias(bias.slice(..));
        }
        let place = |name, data: &Option<Data>| {
            let bytes = data.as_ref().map(|data| data.bytes().len() as u64);
            bytes.map(|bytes| allocate(gpu, name, bytes, BufferUsages::COPY_SRC)).transpose()
        };
        let of_weight = place("grad_weight", &gradients.weight)?;
        let of_bias = place("grad_bias", &gradients.bias)?;
        let mut buffers = common;
        let mut reads = Reads::new(gpu);
        reads.add(&sums, bytes)?;
        if let (Some(buffer), Some(data)) = (&of_weight, &gradients.weight) {
            buffers = buffers.grad_weight(buffer.slice(..));
            reads.add(buffer, data.bytes().len())?;
        }
        if let (Some(buffer), Some(data)) = (&of_bias, &gradients.bias) {
            buffers = buffers.grad_bias(buffer.slice(..));
            reads.add(buffer, data.bytes().len())?;
        }
        let pending = reads.submit(self.queue, Some(&reduce.bind(&buffers)?))?;

        // While the device works: everything that the second half needs.
        let of_input = place("grad_input", &gradients.input)?;
        let grad_sum = upload_some(gpu, "grad_sum", arguments.grad_sum)?;
        let mut apply = None;
        if let Some(of_input) = &of_input {
            let mut buffers = common.grad_input(of_input.slice(..));
            if let Some(grad_sum) = &grad_sum {
                buffers = buffers.grad_sum(grad_sum.slice(..));
            }
            apply = Some(gpu.prepare_backward(plan, wanted, &options.part(Part::Apply))?.bind(&buffers)?);
        }

        let copies = pending.copies().await?;
        let Gradients { input: into_input, weight: into_weight, bias: into_bias, .. } = gradients;
        for (copied, into) in copies[1..].iter().zip([into_weight, into_bias].into_iter().flatten()) {
            copy(copied, into.bytes_mut());
        }
        let pairs: Vec<[f32; 2]> = bytemuck::pod_collect_to_vec(&copies[0][..bytes]);
        let own = GroupSums::from_pairs(&pairs.iter().map(|pair| pair.map(f64::from)).collect::<Vec<_>>());
        let all = self.peers.summed(plan, own)?;
        if let (Some(apply), Some(buffer), Some(into)) = (apply, &of_input, into_input) {
            self.write(&sums, bytemuck::cast_slice(&narrowed(all)))?;
            let mut reads = Reads::new(gpu);
            reads.add(buffer, into.bytes().len())?;
            let copies = reads.submit(self.queue, Some(&apply))?.copies().await?;
            copy(&copies[0], into.bytes_mut());
        }
        Ok(())
    }
}

/// Means and biased variances, as kernels leave them.
fn moments_from(entries: &[u8]) -> Moments {
    // As if all of them were sources: those have variances.
    statistics_from(entries, 0).sources
}

#[expect(clippy::cast_possible_truncation, reason = "kernels take sums as f32")]
fn narrowed(sums: GroupSums) -> Vec<[f32; 2]> {
    sums.into_pairs().into_iter().map(|pair| pair.map(|sum| sum as f32)).collect()
}
