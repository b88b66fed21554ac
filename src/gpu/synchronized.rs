//! Passes on host tensors whose statistics are those of several ranks: one half, an exchange, the other half.

use super::buffers::Buffers;
use super::held::Held;
use super::options::{Options, Part};
use super::pipelines::Gpu;
use super::readback::{Pending, Reads};
use super::scope::scoped;
use super::uploads::{COPIED, Learned, allocate, entries_of, place, statistics_from, upload, upload_some, whole};
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
        let running = match &held {
            Some(held) => held.running().cloned(),
            None => arguments.running.as_deref().cloned(),
        };
        if plan.view().elements() == 0 {
            let Some(all) = self.peers.moments(plan, || no_moments(plan))? else { return Ok(()) };
            return self.settle(&all, running, arguments, held).map(drop);
        }
        let tensor = upload(gpu, "input", input.unwrap_or(output).bytes(), BufferUsages::empty())?;
        let residual = upload_some(gpu, "residual", arguments.residual)?;
        let sum = place(gpu, "sum", arguments.residual)?;
        let mut entries = vec![[0.0; 4]; plan.kept_statistics()];
        let statistics = allocate(gpu, "statistics", size_of_val(&entries[..]) as u64, COPIED)?;
        let pending = if self.peers.known().is_some() && residual.is_none() {
            None
        } else {
            let buffers = Buffers::reduce(tensor.slice(..), statistics.slice(..));
            let buffers = buffers.residual(whole(&residual), whole(&sum));
            Some(self.measure(&buffers, &statistics, &mut entries)?)
        };

        // While the device works: everything that the second half needs.
        let apply = gpu.prepare(plan, &self.options.in_place(false).part(Part::Apply))?;
        let result = allocate(gpu, "output", output.bytes().len() as u64, BufferUsages::COPY_SRC)?;
        let learned = Learned::of(gpu, [arguments.weight, arguments.bias], arguments.extra, held.as_deref())?;
        let normalized = sum.as_ref().unwrap_or(&tensor);
        let buffers = Buffers::new(normalized.slice(..), result.slice(..)).statistics(statistics.slice(..));
        let apply = apply.bind(&learned.beside(buffers))?;

        let all = match pending {
            Some(pending) => {
                pending.arrive().await?;
                let own = moments_from(&entries);
                self.peers.merged(plan, Shard { count: plan.count(), moments: own })?
            }
            None => self.peers.known().cloned(),
        };
        let Some(all) = all else { return Ok(()) };
        let of_all = self.settle(&all, running, arguments, held.take())?;
        self.write(&statistics, bytemuck::cast_slice(&entries_of(&of_all)))?;

        let mut reads = Reads::new(gpu);
        reads.add(&result, output.bytes_mut())?;
        reads.add_some(&sum, arguments.sum.as_deref_mut())?;
        reads.submit(self.queue, Some(&apply))?.arrive().await
    }

    /// Has the moments of one's own values found, and reads them back.
    fn measure<'a>(
        &'a self,
        buffers: &Buffers<'_>,
        statistics: &wgpu::Buffer,
        into: &'a mut [[f32; 4]],
    ) -> Result<Pending<'a>> {
        let reduce = self.gpu.prepare(self.plan, &self.options.in_place(false).part(Part::Reduce))?.bind(buffers)?;
        let mut reads = Reads::new(self.gpu);
        reads.add(statistics, bytemuck::cast_slice_mut(into))?;
        reads.submit(self.queue, Some(&reduce))
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
            update.apply(&mut running, all.count, [&all.moments.mean, &all.moments.var]);
            match (held, &mut arguments.running) {
                (Some(held), _) => held.settle_running(&running)?,
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
        let learned = Learned::of(gpu, [arguments.weight, arguments.bias], arguments.extra, held)?;
        let mut pairs = vec![[0.0_f32; 2]; plan.view().statistics()];
        let sums = allocate(gpu, "sums", size_of_val(&pairs[..]) as u64, COPIED)?;
        let buffers = Buffers::backward(input.slice(..), grad_output.slice(..), statistics.slice(..));
        let common = learned.beside(buffers).sums(sums.slice(..));
        let of_weight = place(gpu, "grad_weight", gradients.weight.as_ref())?;
        let of_bias = place(gpu, "grad_bias", gradients.bias.as_ref())?;
        let mut reads = Reads::new(gpu);
        reads.add(&sums, bytemuck::cast_slice_mut(&mut pairs))?;
        reads.add_some(&of_weight, gradients.weight.as_mut())?;
        reads.add_some(&of_bias, gradients.bias.as_mut())?;
        let buffers = common.grad_weight(whole(&of_weight)).grad_bias(whole(&of_bias));
        let pending = reads.submit(self.queue, Some(&reduce.bind(&buffers)?))?;

        // While the device works: everything that the second half needs.
        let of_input = place(gpu, "grad_input", gradients.input.as_ref())?;
        let grad_sum = upload_some(gpu, "grad_sum", arguments.grad_sum)?;
        let mut apply = None;
        if let Some(of_input) = &of_input {
            let buffers = common.grad_input(of_input.slice(..)).grad_sum(whole(&grad_sum));
            apply = Some(gpu.prepare_backward(plan, wanted, &options.part(Part::Apply))?.bind(&buffers)?);
        }

        pending.arrive().await?;
        let own = GroupSums::from_pairs(&pairs.iter().map(|pair| pair.map(f64::from)).collect::<Vec<_>>());
        let all = self.peers.summed(plan, own)?;
        let Some(apply) = apply else { return Ok(()) };
        self.write(&sums, bytemuck::cast_slice(&narrowed(all)))?;
        let mut reads = Reads::new(gpu);
        reads.add_some(&of_input, gradients.input.as_mut())?;
        reads.submit(self.queue, Some(&apply))?.arrive().await
    }
}

/// Those of no values.
fn no_moments(plan: &Plan) -> Moments {
    let zeros = vec![0.0; plan.view().statistics()];
    Moments { mean: zeros.clone(), var: zeros }
}

/// Means and biased variances, as kernels leave them.
fn moments_from(entries: &[[f32; 4]]) -> Moments {
    // As if all of them were sources: those have variances.
    statistics_from(entries, 0).sources
}

#[expect(clippy::cast_possible_truncation, reason = "kernels take sums as f32")]
fn narrowed(sums: GroupSums) -> Vec<[f32; 2]> {
    sums.into_pairs().into_iter().map(|pair| pair.map(|sum| sum as f32)).collect()
}
