use crate::plan::{ParameterMap, Plan};
use crate::tensor::Data;
use std::borrow::Cow;

/// Weight and bias in f32, both there and equally long: an absent one is all ones or all zeros.
#[derive(Debug)]
pub(super) struct Parameters<'a> {
    pub(super) weight: Cow<'a, [f32]>,
    pub(super) bias: Cow<'a, [f32]>,
    pub(super) map: ParameterMap,
    /// Kept runs of a slab of the plan's view.
    c: usize,
}

/// Sends every element to parameter 0.
const ONE_FOR_ALL: ParameterMap = ParameterMap::constant(1);

impl<'a> Parameters<'a> {
    /// The plan's parameters, from the arguments.
    pub(super) fn new(plan: &Plan, weight: Option<&'a Data>, bias: Option<&'a Data>) -> Self {
        let map = if weight.is_none() && bias.is_none() { ONE_FOR_ALL } else { plan.affine.map };
        let mut weight = widened(weight, map.len, 1.0);
        if plan.epilogue.zero_centred_weight && plan.affine.weight.is_some() {
            weight.to_mut().iter_mut().for_each(|w| *w += 1.0);
        }
        Self { weight, bias: widened(bias, map.len, 0.0), map, c: plan.view.c }
    }

    /// The first parameter of a run, where `c` may go on beyond a slab into the next.
    pub(super) fn index(&self, a: usize, b: usize, c: usize) -> usize {
        self.map.index(a + c / self.c, b, c % self.c, 0)
    }

    /// Whether runs of the same row have the same parameters.
    pub(super) fn same_for_every_run(&self) -> bool {
        self.map.c_scale == 0 && (self.map.a_scale == 0 || self.map.a_modulus == 1)
    }
}

fn widened(data: Option<&Data>, len: usize, absent: f32) -> Cow<'_, [f32]> {
    match data {
        Some(Data::F32(values)) => Cow::Borrowed(values),
        Some(other) => Cow::Owned(other.to_f32()),
        None => Cow::Owned(vec![absent; len]),
    }
}
