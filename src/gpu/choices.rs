//! What fills the slots of the kernels that a plan needs.

use super::planner::Planner;
use super::slots::{AffineSlot, Element, Epsilon, Inflow, Kernel, Lanes, Moment, Parameter, Placement};
use super::strategy::{SHORT_ROW, Strategy};
use super::variant::Variant;
use crate::plan::Statistic;
use crate::tensor::Dtype;

impl Planner<'_> {
    /// Whether the apply step takes c * d for a row, d being short.
    pub(super) fn applies_by_columns(&self) -> bool {
        let view = self.plan.view;
        self.wishes.strategy == Strategy::Column || (view.d < SHORT_ROW && view.c > 1)
    }

    pub(super) fn lanes(&self, team: u32) -> Lanes {
        if self.wishes.subgroups && self.device.subgroups.is_some() && team > 1 {
            Lanes::Subgroup
        } else {
            Lanes::Shared
        }
    }

    pub(super) fn moment(&self) -> Moment {
        match self.plan.statistic {
            Statistic::Centred | Statistic::Unbiased => Moment::Centred,
            Statistic::Uncentred => Moment::Uncentred,
        }
    }

    /// Whole packs need rows and offsets that are multiples of four elements.
    pub(super) fn element(&self, row: u64) -> Element {
        self.element_in(self.device.prefers_native_f16(row), row)
    }

    /// The same, where it is known whether f16 is the adapter's own.
    pub(super) fn element_in(&self, is_native: bool, row: u64) -> Element {
        let whole = row.is_multiple_of(4) && self.wishes.alignment.is_multiple_of(4 * self.plan.dtype.size() as u64);
        match (self.plan.dtype, is_native, whole) {
            (Dtype::F32, _, true) => Element::F32x4,
            (Dtype::F32, _, false) => Element::F32x1,
            (Dtype::F16, true, true) => Element::NativeF16x4,
            (Dtype::F16, true, false) => Element::NativeF16x1,
            (Dtype::F16, false, true) => Element::F16x4,
            (Dtype::F16, false, false) => Element::F16x1,
            (Dtype::Bf16, _, true) => Element::Bf16x4,
            (Dtype::Bf16, _, false) => Element::Bf16x1,
        }
    }

    /// Fills the slots of a kernel that writes the output.
    pub(super) fn applying(&self, mut variant: Variant, row: u64) -> Variant {
        let affine = self.plan.affine;
        variant.element = Some(self.element(row));
        variant.placement = Some(self.placement());
        self.with_affine(&mut variant, affine.weight, affine.bias, row);
        variant
    }

    /// Groups along a that a team takes together, of `groups` and so many teams if it took one.
    pub(super) fn together(&self, variant: &Variant, groups: u64, teams: u64) -> u64 {
        let takes_several = matches!(variant.kernel, Kernel::Streaming | Kernel::Affine) && groups > 1;
        let share_parameters = variant.affine != Some(AffineSlot::None) && self.plan.affine.map.a_scale == 0;
        if takes_several && share_parameters { self.device.groups_together(teams) } else { 1 }
    }

    /// What is added to the variance.
    pub(super) fn epsilon(&self) -> Epsilon {
        if self.plan.extra.eps_l.is_some() { Epsilon::Learned } else { Epsilon::Fixed }
    }

    /// Fills the slots of the affine map.
    fn with_affine(&self, variant: &mut Variant, weight: Option<Dtype>, bias: Option<Dtype>, row: u64) {
        if self.plan.derivation.is_some() {
            variant.affine = Some(AffineSlot::Prepared);
            return;
        }
        variant.affine = Some(match (weight, bias) {
            (None, None) => AffineSlot::None,
            (Some(_), None) => AffineSlot::Scale,
            (None, Some(_)) => AffineSlot::Shift,
            (Some(_), Some(_)) => AffineSlot::ScaleShift,
        });
        variant.parameter = weight.or(bias).map(|_| self.parameter(row));
    }

    /// Fills the slots of a kernel that reads gradients. The bias plays a part in an activation's slope alone, and
    /// so does the weight where gradients are not `weighted`.
    pub(super) fn reading_gradients(&self, mut variant: Variant, row: u64, weighted: bool) -> Variant {
        let affine = self.plan.affine;
        let active = self.plan.epilogue.activation.is_some();
        let (weight, bias) = (affine.weight.filter(|_| active || weighted), affine.bias.filter(|_| active));
        variant.element = Some(self.element(row));
        variant.placement = Some(Placement::Apart);
        self.with_affine(&mut variant, weight, bias, row);
        variant
    }

    /// Fills the slots of a kernel that writes the input's gradient.
    pub(super) fn writing_gradients(&self, variant: Variant, row: u64) -> Variant {
        let mut variant = self.reading_gradients(variant, row, true);
        variant.placement = Some(if self.wishes.in_place { Placement::InPlace } else { Placement::Apart });
        variant.moment = Some(self.moment());
        variant.inflow = Some(if self.wishes.inflow { Inflow::Added } else { Inflow::None });
        variant
    }

    pub(super) fn parameter(&self, row: u64) -> Parameter {
        let map = self.plan.affine.map;
        let dtype = self.plan.affine.weight.or(self.plan.affine.bias).unwrap_or(Dtype::F32);
        let whole = row.is_multiple_of(4)
            && self.wishes.alignment.is_multiple_of(4 * dtype.size() as u64)
            && [map.a_scale, map.b_scale, map.c_scale, map.len].iter().all(|n| n % 4 == 0);
        if whole { Parameter::four_by_four(dtype) } else { Parameter::one_by_one(dtype) }
    }

    /// How the parameters of neighbours in a row lie; see `parameter_steps.wgsl`.
    pub(super) fn parameter_step(&self, row: u64, columns: bool) -> Option<u32> {
        let map = self.plan.affine.map;
        let (d, divisor) = (self.plan.view.d, map.d_divisor);
        let along_d = if divisor >= d {
            0
        } else if divisor == 1 {
            1
        } else if d.is_multiple_of(4) && divisor.is_multiple_of(4) {
            4
        } else {
            2
        };
        if !columns {
            return Some(if row == 1 { 0 } else { along_d });
        }
        Some(match (map.c_scale, along_d) {
            (0, 0) => 0,
            (scale, _) if scale == d && divisor == 1 => 1,
            _ => 3,
        })
    }
}
