//! The backward pass, by the formulas of the chain rule.

use super::{activation, each_element, factor, rounded_normalized};
use crate::error::Result;
use crate::plan::{Plan, Statistic, Statistics, check_len};

/// A backward pass's tensors in f64.
#[derive(Debug, Clone, Default)]
pub struct GradientValues {
    /// What was normalized: the input, or its sum with the residual.
    pub input: Vec<f64>,
    /// The gradient of the output.
    pub grad_output: Vec<f64>,
    /// The gradient that flows into the sum by other ways, where there is one.
    pub grad_sum: Option<Vec<f64>>,
    /// What the forward pass kept.
    pub statistics: Statistics,
    /// The factor after the normalization, where the plan has one.
    pub weight: Option<Vec<f64>>,
    /// The summand after the factor, where the plan has one.
    pub bias: Option<Vec<f64>>,
}

/// The gradients of a plan's tensors.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Gradients {
    /// That of the input, and of the residual.
    pub input: Vec<f64>,
    /// That of the weight, where the plan has one.
    pub weight: Option<Vec<f64>>,
    /// That of the bias, where the plan has one.
    pub bias: Option<Vec<f64>>,
}

/// The gradients of what `plan` computes.
///
/// # Errors
///
/// When a tensor is not as long as `plan` says, or a parameter is missing.
pub fn backward(plan: &Plan, values: &GradientValues) -> Result<Gradients> {
    values.check(plan)?;
    let parameters = plan.affine.map.len;
    let mut gradients = Gradients {
        input: values.grad_sum.clone().unwrap_or_else(|| vec![0.0; plan.view.elements()]),
        weight: values.weight.as_ref().map(|_| vec![0.0; parameters]),
        bias: values.bias.as_ref().map(|_| vec![0.0; parameters]),
    };
    if plan.view.elements() == 0 {
        return Ok(gradients);
    }
    // The gradients of the affine map's result and of the normalized values.
    let mut of_normalized = vec![0.0; plan.view.elements()];
    let mut normalized = vec![0.0; plan.view.elements()];
    each_element(plan, |i, s, p| {
        normalized[i] = (values.input[i] - values.statistics.mean[s]) * values.statistics.rstd[s];
        let x_hat = rounded_normalized(plan, normalized[i]);
        let weight = factor(plan, values.weight.as_deref(), p);
        let y = x_hat * weight + values.bias.as_ref().map_or(0.0, |b| b[p]);
        let slope = plan.epilogue.activation.map_or(1.0, |activation| activation::slope(activation, y));
        let of_affine = values.grad_output[i] * slope;
        if let Some(of_weight) = &mut gradients.weight {
            of_weight[p] += of_affine * x_hat;
        }
        if let Some(of_bias) = &mut gradients.bias {
            of_bias[p] += of_affine;
        }
        of_normalized[i] = of_affine * weight;
    });
    let (sums, products) = sums(plan, &normalized, &of_normalized);
    #[expect(clippy::cast_precision_loss, reason = "no tensor has 2^53 elements")]
    let count = plan.view.count() as f64;
    each_element(plan, |i, s, _| {
        let mut gradient = of_normalized[i];
        if plan.statistics_follow_input() {
            let through_mean = if plan.statistic == Statistic::Centred { sums[s] / count } else { 0.0 };
            gradient -= through_mean + normalized[i] * products[s] / count;
        }
        gradients.input[i] += gradient * values.statistics.rstd[s];
    });
    Ok(gradients)
}

/// For each statistic the sums of the gradients of the normalized values, and of their products with these.
fn sums(plan: &Plan, normalized: &[f64], of_normalized: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let mut sums = vec![0.0; plan.view.statistics()];
    let mut products = sums.clone();
    each_element(plan, |i, s, _| {
        sums[s] += of_normalized[i];
        products[s] += of_normalized[i] * normalized[i];
    });
    (sums, products)
}

impl GradientValues {
    fn check(&self, plan: &Plan) -> Result<()> {
        let (elements, parameters) = (plan.view.elements(), plan.affine.map.len);
        let of = |wanted: bool, len: usize| if wanted { len } else { 0 };
        check_len("input", self.input.len(), elements)?;
        check_len("grad_output", self.grad_output.len(), elements)?;
        check_len("grad_sum", self.grad_sum.as_ref().map_or(elements, Vec::len), elements)?;
        let weight = of(plan.affine.weight.is_some(), parameters);
        let bias = of(plan.affine.bias.is_some(), parameters);
        check_len("weight", self.weight.as_ref().map_or(0, Vec::len), weight)?;
        check_len("bias", self.bias.as_ref().map_or(0, Vec::len), bias)?;
        if elements == 0 {
            return Ok(());
        }
        check_len("statistics", self.statistics.mean.len(), plan.view.statistics())?;
        check_len("statistics", self.statistics.rstd.len(), plan.view.statistics())
    }
}
