use crate::error::Result;
use crate::plan::{Arguments, GradientArguments, Gradients, Peers, Plan};
use crate::reference::{self, GradientValues, Values};
use crate::tensor::Data;

/// Executes a plan on host tensors by the f64 reference.
pub(super) fn execute(
    plan: &Plan,
    peers: Option<&dyn Peers>,
    input: Option<&Data>,
    arguments: &mut Arguments<'_>,
    output: &mut Data,
) -> Result<()> {
    let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect();
    let mut values = Values {
        input: input.unwrap_or(output).to_f64(),
        weight: arguments.weight.map(Data::to_f64),
        bias: arguments.bias.map(Data::to_f64),
        running_mean: arguments.running.as_ref().map(|r| wide(&r.mean)).unwrap_or_default(),
        running_var: arguments.running.as_ref().map(|r| wide(&r.var)).unwrap_or_default(),
        residual: arguments.residual.map(Data::to_f64),
        extra: arguments.extra.map(|data| data.map(Data::to_f64)),
        labels: arguments.labels.unwrap_or_default().to_vec(),
        num_batches_tracked: arguments.running.as_ref().and_then(|r| r.num_batches_tracked).unwrap_or(0),
    };
    let result = reference::forward_among(plan, peers, &mut values)?;
    *output = Data::from_f64(plan.dtype, &result.output);
    if let Some(sum) = &mut arguments.sum {
        **sum = Data::from_f64(plan.dtype, &result.sum);
    }
    if let Some(statistics) = &mut arguments.statistics {
        **statistics = result.statistics;
    }
    if let (Some(running), Some(update)) = (&mut arguments.running, plan.running_update()) {
        #[expect(clippy::cast_possible_truncation, reason = "running estimates are stored as f32")]
        let narrow = |values: &[f64]| values.iter().map(|&x| x as f32).collect();
        running.mean = narrow(&values.running_mean);
        running.var = narrow(&values.running_var);
        if update.counter {
            running.num_batches_tracked = Some(values.num_batches_tracked);
        }
    }
    Ok(())
}

/// Executes the backward pass of a plan on host tensors by the f64 reference.
pub(super) fn backward(
    plan: &Plan,
    peers: Option<&dyn Peers>,
    arguments: &GradientArguments<'_>,
    gradients: &mut Gradients,
) -> Result<()> {
    let values = GradientValues {
        input: arguments.input.to_f64(),
        grad_output: arguments.grad_output.to_f64(),
        grad_sum: arguments.grad_sum.map(Data::to_f64),
        statistics: arguments.statistics.clone(),
        weight: arguments.weight.map(Data::to_f64),
        bias: arguments.bias.map(Data::to_f64),
        extra: arguments.extra.map(|data| data.map(Data::to_f64)),
        labels: arguments.labels.unwrap_or_default().to_vec(),
        grad_mean: arguments.grad_mean.map(Data::to_f64),
        grad_std: arguments.grad_std.map(Data::to_f64),
    };
    let result = reference::backward_among(plan, peers, &values)?;
    let store = |into: &mut Option<Data>, values: Option<&[f64]>| {
        if let (Some(into), Some(values)) = (into, values) {
            *into = Data::from_f64(into.dtype(), values);
        }
    };
    store(&mut gradients.input, Some(&result.input));
    store(&mut gradients.weight, result.weight.as_deref());
    store(&mut gradients.bias, result.bias.as_deref());
    for (_, (into, values)) in gradients.extra.as_mut().zip(result.extra.as_ref()).named() {
        store(into, values.as_deref());
    }
    Ok(())
}
