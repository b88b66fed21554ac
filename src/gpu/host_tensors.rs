//! Host tensors in, host tensors out.

use super::buffers::Buffers;
use super::held::Held;
use super::options::Options;
use super::pipelines::Gpu;
use super::readback::{Reads, copy, copy_running};
use super::uploads::{Learned, allocate, entries_of, place, statistics_from, upload, upload_some, whole};
use crate::error::Result;
use crate::plan::{Arguments, Extra, GradientArguments, Gradients, Plan, Wanted};
use crate::tensor::Data;
use wgpu::BufferUsages;

/// Executes a plan on host tensors, whose parameters have one type; `input` is `None` to run in place of `output`. What
/// is `held` on the device is used there, and running estimates are moved there.
pub(super) async fn execute(
    (gpu, queue): (&Gpu, &wgpu::Queue),
    (plan, options): (&Plan, &Options),
    input: Option<&Data>,
    arguments: &mut Arguments<'_>,
    mut held: Option<&mut Held>,
    output: &mut Data,
) -> Result<()> {
    let prepared = gpu.prepare(plan, options)?;
    if plan.view().elements() == 0 {
        arguments.count_empty_batch(plan);
        return held.map_or(Ok(()), |held| held.count_empty_batch(plan));
    }
    let kept = BufferUsages::COPY_SRC;
    let tensor = upload(gpu, "input", input.unwrap_or(output).bytes(), kept)?;
    let other = place(gpu, "output", input)?;
    let result = other.as_ref().unwrap_or(&tensor);
    let learned = Learned::of(gpu, [arguments.weight, arguments.bias], arguments.extra, held.as_deref())?;
    let residual = upload_some(gpu, "residual", arguments.residual)?;
    let sum = place(gpu, "sum", arguments.residual)?;
    let saved = 16 * plan.kept_statistics();
    let statistics =
        arguments.statistics.as_ref().map(|_| allocate(gpu, "statistics", saved as u64, kept)).transpose()?;
    let labels = upload_labels(gpu, arguments.labels)?;
    let mut own = None;
    if let (Some(running), Some(_)) = (&arguments.running, plan.running_len()) {
        let mut uploaded = Held::new(gpu);
        uploaded.set_running(running)?;
        own = Some(uploaded);
    }
    if let (Some(held), Some(_)) = (&mut held, plan.running_update()) {
        held.unshare()?;
    }
    let estimates = own.as_ref().or(held.as_deref()).and_then(Held::running_buffers);

    let mut buffers = learned
        .beside(Buffers::new(tensor.slice(..), result.slice(..)))
        .residual(whole(&residual), whole(&sum))
        .statistics(whole(&statistics))
        .labels(whole(&labels));
    if let Some(running) = estimates {
        buffers = buffers.running(running.mean.slice(..), running.var.slice(..));
        if plan.running_update().is_some_and(|u| u.counter) {
            buffers = buffers.num_batches_tracked(running.counter.slice(..));
        }
    }
    let bound = prepared.bind(&buffers)?;

    let mut reads = Reads::new(gpu);
    reads.add(result, output.bytes().len())?;
    if let Some(sum) = &sum {
        reads.add(sum, output.bytes().len())?;
    }
    if let Some(statistics) = &statistics {
        reads.add(statistics, saved)?;
    }
    let update = plan.running_update();
    if let (Some(running), Some(_)) = (estimates, update) {
        running.read(&mut reads)?;
    }
    let mut mapped = reads.submit(queue, Some(&bound))?.copies().await?.into_iter();
    let mut next = || mapped.next().unwrap_or_default();
    copy(&next(), output.bytes_mut());
    if let (Some(_), Some(sum)) = (&sum, &mut arguments.sum) {
        copy(&next(), sum.bytes_mut());
    }
    if let Some(statistics) = &mut arguments.statistics {
        **statistics = statistics_from(&next(), plan.view().statistics());
    }
    if update.is_some() {
        let moved = [next(), next(), next()];
        match (&mut arguments.running, held) {
            (Some(running), _) => copy_running(&moved, running),
            (None, Some(held)) => held.moved(&moved),
            (None, None) => {}
        }
    }
    Ok(())
}

/// Executes a plan's backward pass on host tensors, whose parameters have one type; fills the gradients that are there.
pub(super) async fn backward(
    (gpu, queue): (&Gpu, &wgpu::Queue),
    (plan, (wanted, options)): (&Plan, (Wanted, &Options)),
    arguments: &GradientArguments<'_>,
    held: Option<&Held>,
    gradients: &mut Gradients,
) -> Result<()> {
    let prepared = gpu.prepare_backward(plan, wanted, options)?;
    if plan.view().elements() == 0 {
        return Ok(());
    }
    let none = BufferUsages::empty();
    let input = upload(gpu, "input", arguments.input.bytes(), none)?;
    let grad_output = upload(gpu, "grad_output", arguments.grad_output.bytes(), none)?;
    let statistics = upload(gpu, "statistics", bytemuck::cast_slice(&entries_of(arguments.statistics)), none)?;
    let learned = Learned::of(gpu, [arguments.weight, arguments.bias], arguments.extra, held)?;
    let labels = upload_labels(gpu, arguments.labels)?;
    let grad_sum = upload_some(gpu, "grad_sum", arguments.grad_sum)?;
    let grad_mean = upload_some(gpu, "grad_mean", arguments.grad_mean)?;
    let grad_std = upload_some(gpu, "grad_std", arguments.grad_std)?;
    let of_input = place(gpu, "grad_input", gradients.input.as_ref())?;
    let of_weight = place(gpu, "grad_weight", gradients.weight.as_ref())?;
    let of_bias = place(gpu, "grad_bias", gradients.bias.as_ref())?;
    let mut of_extra = Extra::default();
    for (name, (buffer, data)) in of_extra.as_mut().zip(gradients.extra.as_ref()).named() {
        *buffer = place(gpu, name, data.as_ref())?;
    }
    let mut reads = Reads::new(gpu);
    let all = [(&of_input, &gradients.input), (&of_weight, &gradients.weight), (&of_bias, &gradients.bias)];
    for (buffer, data) in all.into_iter().chain(of_extra.as_ref().zip(gradients.extra.as_ref()).into_array()) {
        if let (Some(buffer), Some(data)) = (buffer, data) {
            reads.add(buffer, data.bytes().len())?;
        }
    }
    let buffers = learned
        .beside(Buffers::backward(input.slice(..), grad_output.slice(..), statistics.slice(..)))
        .grad_sum(whole(&grad_sum))
        .labels(whole(&labels))
        .grad_moments(whole(&grad_mean), whole(&grad_std))
        .grad_input(whole(&of_input))
        .grad_weight(whole(&of_weight))
        .grad_bias(whole(&of_bias))
        .grad_extra(of_extra.as_ref().map(whole));
    let bound = prepared.bind(&buffers)?;
    let mut mapped = reads.submit(queue, Some(&bound))?.copies().await?.into_iter();
    let Gradients { input, weight, bias, extra } = gradients;
    for gradient in [input, weight, bias].into_iter().chain(extra.as_mut().into_array()).flatten() {
        copy(&mapped.next().unwrap_or_default(), gradient.bytes_mut());
    }
    Ok(())
}

fn upload_labels(gpu: &Gpu, labels: Option<&[i64]>) -> Result<Option<wgpu::Buffer>> {
    let bytes = labels.map(bytemuck::cast_slice);
    bytes.map(|bytes| upload(gpu, "labels", bytes, BufferUsages::empty())).transpose()
}
