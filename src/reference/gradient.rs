//! The backward pass, by the formulas of the chain rule.

use super::{activation, each_element, factor, rounded_normalized, shares};
use crate::error::{Error, Result};
use crate::plan::{
    Derived, DerivedSums, Extra, GroupSums, Own, Peers, Plan, Source, Statistics, check_len, obstacle_to_inflow,
};

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
    /// What only some normalizations learn.
    pub extra: Extra<Option<Vec<f64>>>,
    /// The class of each sample, where there are tables of classes.
    pub labels: Vec<i64>,
    /// The gradient that flows into the means, where there is one.
    pub grad_mean: Option<Vec<f64>>,
    /// The gradient that flows into the deviations, where there is one.
    pub grad_std: Option<Vec<f64>>,
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
    /// Those of what only some normalizations learn.
    pub extra: Extra<Option<Vec<f64>>>,
}

/// The gradients of what `plan` computes.
///
/// # Errors
///
/// When a tensor is not as long as `plan` says, or a parameter is missing.
pub fn backward(plan: &Plan, values: &GradientValues) -> Result<Gradients> {
    backward_among(plan, None, values)
}

/// As [`backward`], as one of several that share statistics.
pub(crate) fn backward_among(plan: &Plan, peers: Option<&dyn Peers>, values: &GradientValues) -> Result<Gradients> {
    values.check(plan)?;
    let own = values.own();
    // Of an empty tensor there may be more parameters than memory holds, if none of them is there.
    let parameters = if plan.view.elements() == 0 && !own.has_any() { 0 } else { plan.affine.map.len };
    let mut input = values.grad_sum.clone().unwrap_or_else(|| vec![0.0; plan.view.elements()]);
    let mut sums =
        DerivedSums { products: vec![0.0; parameters], gradients: vec![0.0; parameters], clipped: Vec::new() };
    if plan.extra.tau.is_some() {
        sums.clipped = vec![0.0; parameters];
    }
    if plan.view.elements() == 0 {
        if let Some(peers) = peers {
            peers.summed(plan, group_sums(plan, &[], &[]))?;
        }
        let given = [vec![0.0], vec![0.0; 3], vec![0.0; 3]];
        return Ok(values.gradients(plan, &own, input, sums, given));
    }
    let Derived { weight, bias, tau } = own.derived(plan);
    // The gradients of the normalized values.
    let mut of_normalized = vec![0.0; plan.view.elements()];
    let mut normalized = vec![0.0; plan.view.elements()];
    each_element(plan, |i, s, p| {
        normalized[i] = match plan.source {
            Source::Nothing => values.input[i],
            _ => (values.input[i] - values.statistics.mean[s]) * values.statistics.rstd[s],
        };
        let x_hat = rounded_normalized(plan, normalized[i]);
        let weight = factor(plan, weight.as_deref(), p);
        let affine = x_hat * weight + bias.as_ref().map_or(0.0, |b| b[p]);
        let y = tau.as_ref().map_or(affine, |tau| super::above(affine, tau[p]));
        let slope = plan.epilogue.activation.map_or(1.0, |activation| activation::slope(activation, y));
        let gradient = values.grad_output[i] * slope;
        let passes = tau.as_ref().is_none_or(|tau| affine > tau[p]);
        if !passes {
            sums.clipped[p] += gradient;
        }
        let of_affine = if passes { gradient } else { 0.0 };
        sums.products[p] += of_affine * x_hat;
        sums.gradients[p] += of_affine;
        of_normalized[i] = of_affine * weight;
    });
    let mut groups = group_sums(plan, &normalized, &of_normalized);
    let of_small = values.through_statistics(plan, &mut groups);
    if let Some(peers) = peers {
        groups = peers.summed(plan, groups)?;
    }
    each_element(plan, |i, s, _| {
        let mut gradient = of_normalized[i];
        if plan.statistics_follow_input() {
            let through_mean = if plan.statistic.is_centred() { groups.gradients[s] / plan.count() } else { 0.0 };
            gradient -= through_mean + normalized[i] * groups.products[s] / plan.divisor();
        }
        input[i] += gradient * if plan.source == Source::Nothing { 1.0 } else { values.statistics.rstd[s] };
    });
    Ok(values.gradients(plan, &own, input, sums, of_small))
}

/// For each statistic the sums of the gradients of the normalized values, and of their products with these.
fn group_sums(plan: &Plan, normalized: &[f64], of_normalized: &[f64]) -> GroupSums {
    let mut sums =
        GroupSums { products: vec![0.0; plan.view.statistics()], gradients: vec![0.0; plan.view.statistics()] };
    each_element(plan, |i, s, _| {
        sums.gradients[s] += of_normalized[i];
        sums.products[s] += of_normalized[i] * normalized[i];
    });
    sums
}

impl GradientValues {
    /// The caller's parameters.
    fn own(&self) -> Own {
        let Self { weight, bias, extra, labels, .. } = self;
        Own { weight: weight.clone(), bias: bias.clone(), extra: extra.clone(), labels: labels.clone() }
    }

    /// Replaces the sums over groups by those that the statistics' own gradients make of them. Gives the gradients of
    /// `eps_l`, `mean_weight` and `var_weight`.
    fn through_statistics(&self, plan: &Plan, sums: &mut GroupSums) -> [Vec<f64>; 3] {
        let Statistics { mean, rstd, sources } = &self.statistics;
        for (sums, inflow) in [(&mut sums.gradients, &self.grad_mean), (&mut sums.products, &self.grad_std)] {
            for ((sum, inflow), rstd) in sums.iter_mut().zip(inflow.iter().flatten()).zip(rstd) {
                *sum -= inflow / rstd;
            }
        }
        let sign = self.extra.eps_l.as_ref().map_or(0.0, |eps| if eps[0] == 0.0 { 0.0 } else { eps[0].signum() });
        let of_eps = rstd.iter().zip(&sums.products).map(|(rstd, product)| -0.5 * rstd * rstd * product);
        let of_eps = sign * of_eps.sum::<f64>();
        let mut of_shares = [[0.0; 3]; 2];
        if let Source::Mixed(mixing) = plan.source {
            of_shares =
                mixing.backward((mean, rstd), sources, &shares(&self.extra), plan.count() / plan.divisor(), sums);
        }
        [vec![of_eps], of_shares[0].to_vec(), of_shares[1].to_vec()]
    }

    /// The gradients of what the caller has; `of_small` are those of `eps_l`, `mean_weight` and `var_weight`.
    fn gradients(
        &self,
        plan: &Plan,
        own: &Own,
        input: Vec<f64>,
        sums: DerivedSums,
        [of_eps, of_mean_weight, of_var_weight]: [Vec<f64>; 3],
    ) -> Gradients {
        let all = own.gradients(plan, sums);
        let extra = Extra {
            eps_l: Some(of_eps),
            mean_weight: Some(of_mean_weight),
            var_weight: Some(of_var_weight),
            ..all.extra
        };
        Gradients {
            input,
            weight: all.weight.filter(|_| self.weight.is_some()),
            bias: all.bias.filter(|_| self.bias.is_some()),
            extra: extra.zip(self.extra.as_ref()).map(|(gradient, own)| gradient.filter(|_| own.is_some())),
        }
    }

    fn check(&self, plan: &Plan) -> Result<()> {
        let elements = plan.view.elements();
        check_len("input", self.input.len(), elements)?;
        check_len("grad_output", self.grad_output.len(), elements)?;
        check_len("grad_sum", self.grad_sum.as_ref().map_or(elements, Vec::len), elements)?;
        for (argument, inflow) in [("grad_mean", &self.grad_mean), ("grad_std", &self.grad_std)] {
            let Some(inflow) = inflow else { continue };
            if let Some(reason) = obstacle_to_inflow(plan, argument == "grad_mean") {
                return Err(Error::Unexpected { argument, reason });
            }
            check_len(argument, inflow.len(), plan.view.statistics())?;
        }
        self.own().check(plan)?;
        self.statistics.check(plan)
    }
}
