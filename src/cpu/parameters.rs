use super::moments::narrow;
use crate::plan::{Derived, Extra, Own, ParameterMap, Plan};
use crate::tensor::Data;
use std::borrow::Cow;

/// Weight and bias in f32, both there and equally long: an absent one is all ones or all zeros.
#[derive(Debug)]
pub(super) struct Parameters<'a> {
    pub(super) weight: Cow<'a, [f32]>,
    pub(super) bias: Cow<'a, [f32]>,
    /// Whether the bias is more than zeros that stand for none.
    pub(super) has_bias: bool,
    /// Thresholds, below which nothing falls.
    pub(super) tau: Option<Vec<f32>>,
    pub(super) map: ParameterMap,
    /// Kept runs of a slab of the plan's view.
    c: usize,
}

/// Sends every element to parameter 0.
const ONE_FOR_ALL: ParameterMap = ParameterMap::constant(1);

impl<'a> Parameters<'a> {
    /// The parameters of the plan's affine map, from the caller's.
    pub(super) fn new(
        plan: &Plan,
        weight: Option<&'a Data>,
        bias: Option<&'a Data>,
        extra: Extra<Option<&Data>>,
        labels: Option<&[i64]>,
    ) -> Self {
        let has_some = plan.has_weight() || plan.has_bias() || plan.extra.tau.is_some();
        let map = if has_some { plan.affine.map } else { ONE_FOR_ALL };
        let narrowed = |values: Vec<f64>| values.into_iter().map(narrow).collect::<Vec<f32>>();
        let (weight, bias, tau) = if plan.derivation.is_some() {
            let Derived { weight, bias, tau } = own(weight, bias, extra, labels).derived(plan);
            let owned = |values: Option<Vec<f64>>| values.map(narrowed).map(Cow::Owned);
            (owned(weight), owned(bias), tau.map(narrowed))
        } else {
            (weight.map(widened), bias.map(widened), None)
        };
        let has_bias = bias.is_some();
        let filled = |values: Option<Cow<'a, [f32]>>, absent| values.unwrap_or_else(|| vec![absent; map.len].into());
        let (mut weight, bias) = (filled(weight, 1.0), filled(bias, 0.0));
        if plan.adds_one() && plan.has_weight() {
            weight.to_mut().iter_mut().for_each(|w| *w += 1.0);
        }
        Self { weight, bias, has_bias, tau, map, c: plan.view.c }
    }

    /// The first parameter of a run, where `c` may go on beyond a slab into the next.
    pub(super) fn index(&self, a: usize, b: usize, c: usize) -> usize {
        self.map.index(a + c / self.c, b, c % self.c, 0)
    }

    /// Whether rows have the same parameters, so that these are worth folding with scales.
    pub(super) fn are_those_of_many_rows(&self) -> bool {
        self.map.b_scale == 0
    }

    /// Whether runs of the same row have the same parameters.
    pub(super) fn same_for_every_run(&self) -> bool {
        self.map.c_scale == 0 && (self.map.a_scale == 0 || self.map.a_modulus == 1)
    }
}

/// The caller's parameters in f64.
pub(super) fn own(
    weight: Option<&Data>,
    bias: Option<&Data>,
    extra: Extra<Option<&Data>>,
    labels: Option<&[i64]>,
) -> Own {
    Own {
        weight: weight.map(Data::to_f64),
        bias: bias.map(Data::to_f64),
        extra: extra.map(|data| data.map(Data::to_f64)),
        labels: labels.unwrap_or_default().to_vec(),
    }
}

fn widened(data: &Data) -> Cow<'_, [f32]> {
    match data {
        Data::F32(values) => Cow::Borrowed(values),
        other => Cow::Owned(other.to_f32()),
    }
}
