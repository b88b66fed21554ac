//! Host tensors in, host tensors out.

use super::buffers::Buffers;
use super::held::Held;
use super::options::Options;
use super::pipelines::Gpu;
use super::readback::Reads;
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
    let mut entries = vec![[0.0; 4]; if arguments.statistics.is_some() { plan.kept_statistics() } else { 0 }];
    let saved = size_of_val(&entries[..]) as u64;
    let statistics = arguments.statistics.as_ref().map(|_| allocate(gpu, "statistics", saved, kept)).transpose()?;
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
    reads.add(result, output.bytes_mut())?;
    reads.add_some(&sum, arguments.sum.as_deref_mut())?;
    if let Some(statistics) = &statistics {
        reads.add(statistics, bytemuck::cast_slice_mut(&mut entries))?;
    }
    let moving = estimates.filter(|_| plan.running_update().is_some());
    let mut moved = moving.map(|running| running.values().clone());
    if let (Some(running), Some(moved)) = (moving, &mut moved) {
        running.read(&mut reads, moved)?;
    }
    reads.submit(queue, Some(&bound))?.arrive().await?;
    if let Some(statistics) = &mut arguments.statistics {
        **statistics = statistics_from(&entries, plan.view().statistics());
    }
    match (moved, &mut arguments.running, held) {
        (Some(moved), Some(running), _) => **running = moved,
        (Some(moved), None, Some(held)) => held.moved(moved),
        _ => {}
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
    let mut reads = Reads::new(gpu);
    let Gradients { input, weight, bias, extra } = gradients;
    let all = [(&of_input, input), (&of_weight, weight), (&of_bias, bias)];
    for (buffer, data) in all.into_iter().chain(of_extra.as_ref().zip(extra.as_mut()).into_array()) {
        reads.add_some(buffer, data.as_mut())?;
    }
    reads.submit(queue, Some(&bound))?.arrive().await
}

fn upload_labels(gpu: &Gpu, labels: Option<&[i64]>) -> Result<Option<wgpu::Buffer>> {
    let bytes = labels.map(bytemuck::cast_slice);
    bytes.map(|bytes| upload(gpu, "labels", bytes, BufferUsages::empty())).transpose()
}
