//! Gradients of what the caller's parameters are, from sums over what shares one of the affine map's.

use super::moments::narrow;
use super::parameters::own;
use crate::plan::{DerivedSums, Extra, GradientArguments, Gradients, GroupSums, Plan};
use crate::tensor::Data;

/// Sums of products with normalized values, and of gradients.
pub(super) type Pair = [f64; 2];

/// Sums over everything, for each parameter of the affine map.
#[derive(Debug)]
pub(super) struct ParameterSums {
    pub(super) pairs: Vec<Pair>,
    /// Of what thresholds keep from the affine map, where there are any, with zeros.
    pub(super) clipped: Vec<Pair>,
    /// Of what reaches eps.
    pub(super) of_eps: f64,
}

impl ParameterSums {
    /// Fills the gradients that are there; `of_shares` are those of how statistics are mixed.
    pub(super) fn store(
        self,
        plan: &Plan,
        arguments: &GradientArguments<'_>,
        [of_mean_weight, of_var_weight]: [[f64; 3]; 2],
        gradients: &mut Gradients,
    ) {
        if plan.derivation.is_none() && !plan.extra.any() {
            // The affine map's parameters are the caller's own.
            store_sums(&mut gradients.weight, &self.pairs, 0);
            return store_sums(&mut gradients.bias, &self.pairs, 1);
        }
        let sums = DerivedSums {
            products: self.pairs.iter().map(|pair| pair[0]).collect(),
            gradients: self.pairs.iter().map(|pair| pair[1]).collect(),
            clipped: self.clipped.iter().map(|pair| pair[0]).collect(),
        };
        let own = own(arguments.weight, arguments.bias, arguments.extra, arguments.labels);
        let sign = own.extra.eps_l.as_ref().map_or(0.0, |eps| if eps[0] == 0.0 { 0.0 } else { eps[0].signum() });
        let all = own.gradients(plan, sums);
        let extra = Extra {
            eps_l: Some(vec![sign * self.of_eps]),
            mean_weight: Some(of_mean_weight.to_vec()),
            var_weight: Some(of_var_weight.to_vec()),
            ..all.extra
        };
        store(&mut gradients.weight, all.weight);
        store(&mut gradients.bias, all.bias);
        gradients.extra.as_mut().zip(extra).into_array().into_iter().for_each(|(into, values)| store(into, values));
    }
}

/// Stores one of each pair.
fn store_sums(gradient: &mut Option<Data>, pairs: &[Pair], which: usize) {
    match gradient {
        Some(Data::F32(values)) => values.iter_mut().zip(pairs).for_each(|(value, pair)| *value = narrow(pair[which])),
        Some(other) => {
            *other = Data::from_f64(other.dtype(), &pairs.iter().map(|pair| pair[which]).collect::<Vec<_>>());
        }
        None => {}
    }
}

fn store(gradient: &mut Option<Data>, values: Option<Vec<f64>>) {
    if let (Some(gradient), Some(values)) = (gradient, values) {
        *gradient = Data::from_f64(gradient.dtype(), &values);
    }
}

/// What goes through the statistics of a mixture goes through those of the instances. Gives the gradients of the
/// shares.
pub(super) fn through_mixture(plan: &Plan, arguments: &GradientArguments<'_>, groups: &mut [Pair]) -> [[f64; 3]; 2] {
    let Some(mixing) = plan.source.mixing() else { return [[0.0; 3]; 2] };
    let statistics = arguments.statistics;
    let shares = super::shares(arguments.extra);
    let mut sums = GroupSums::from_pairs(groups);
    let kept = (&*statistics.mean, &*statistics.rstd);
    let of_shares = mixing.backward(kept, &statistics.sources, &shares, plan.count() / plan.divisor(), &mut sums);
    groups.copy_from_slice(&sums.into_pairs());
    of_shares
}
