//! Which choices go together: every shader that the engine can ask for.

use super::slots::{
    AffineSlot, Beside, Collected, Element, Epsilon, File, Inflow, Kernel, Known, Lanes, Moment, MomentumSlot,
    NOTHING_ROUNDED, OfParameters, Parameter, Picking, Placement, Published, Registers, Residual, Saved, Terms,
    Tracked,
};
use crate::plan::RunningUpdate;
use crate::tensor::Dtype;

/// A kernel and the choice in each of its slots: the only input of the linker, and the pipeline's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Variant {
    /// What the dispatch does.
    pub kernel: Kernel,
    /// How the tensor's elements are loaded and stored.
    pub element: Option<Element>,
    /// Whether output is a buffer of its own.
    pub placement: Option<Placement>,
    /// How lanes exchange values.
    pub lanes: Option<Lanes>,
    /// What is measured.
    pub moment: Option<Moment>,
    /// How parameters are stored.
    pub parameter: Option<Parameter>,
    /// Which parameters there are.
    pub affine: Option<AffineSlot>,
    /// Whether the statistics are kept.
    pub saved: Option<Saved>,
    /// Packs that a lane holds at most.
    pub registers: Option<Registers>,
    /// Where the share of the new value comes from.
    pub momentum: Option<MomentumSlot>,
    /// Whether a residual is added to the input.
    pub residual: Option<Residual>,
    /// Whether a gradient reaches the sum of input and residual by other ways.
    pub inflow: Option<Inflow>,
    /// How sums for the parameters' gradients are written.
    pub of_parameters: Option<OfParameters>,
    /// Where sums go.
    pub collected: Option<Collected>,
    /// What is written beside the sums of columns.
    pub beside: Option<Beside>,
    /// Which terms are collected.
    pub terms: Option<Terms>,
    /// What is added to the variance.
    pub epsilon: Option<Epsilon>,
    /// Where the parameters of the affine map come from.
    pub picking: Option<Picking>,
    /// How mean and deviation are written.
    pub published: Option<Published>,
    /// Whether running estimates follow the statistics at once.
    pub tracked: Option<Tracked>,
    /// Where statistics that are applied come from.
    pub known: Option<Known>,
}

impl Variant {
    /// A kernel with no slot filled.
    #[must_use]
    pub const fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            element: None,
            placement: None,
            lanes: None,
            moment: None,
            parameter: None,
            affine: None,
            saved: None,
            registers: None,
            momentum: None,
            residual: None,
            inflow: None,
            of_parameters: None,
            collected: None,
            beside: None,
            terms: None,
            epsilon: None,
            picking: None,
            published: None,
            tracked: None,
            known: None,
        }
    }

    /// The files that make up the shader, the kernel's own first; shared ones may recur.
    pub fn files(&self) -> impl Iterator<Item = &'static File> + '_ {
        let slots: [&'static [File]; 22] = [
            self.kernel.files(),
            self.element.map_or(&[], Element::files),
            self.placement.map_or(&[], Placement::files),
            self.lanes.map_or(&[], Lanes::files),
            self.moment.map_or(&[], Moment::files),
            self.parameter.map_or(&[], Parameter::files),
            self.affine.map_or(&[], AffineSlot::files),
            self.saved.map_or(&[], Saved::files),
            self.registers.map_or(&[], Registers::files),
            self.momentum.map_or(&[], MomentumSlot::files),
            self.residual.map_or(&[], Residual::files),
            self.inflow.map_or(&[], Inflow::files),
            self.of_parameters.map_or(&[], OfParameters::files),
            self.collected.map_or(&[], Collected::files),
            self.beside.map_or(&[], Beside::files),
            self.terms.map_or(&[], Terms::files),
            self.epsilon.map_or(&[], Epsilon::files),
            self.picking.map_or(&[], Picking::files),
            self.published.map_or(&[], Published::files),
            self.tracked.map_or(&[], Tracked::files),
            self.known.map_or(&[], Known::files),
            // Sums meet the weight without the epilogue, which rounds to a tensor's storage type.
            if self.kernel == Kernel::Collect { &[NOTHING_ROUNDED] } else { &[] },
        ];
        slots.into_iter().flatten()
    }

    /// Whether the device needs `SHADER_F16`.
    #[must_use]
    pub fn needs_f16(&self) -> bool {
        self.element.is_some_and(Element::is_native_f16)
    }

    /// Whether four elements make a word, so that rows are whole packs.
    #[must_use]
    pub fn has_whole_packs(&self) -> bool {
        self.element.is_some_and(Element::has_whole_packs)
    }

    /// Whether the device needs `SUBGROUP`.
    #[must_use]
    pub fn needs_subgroups(&self) -> bool {
        self.lanes == Some(Lanes::Subgroup)
    }

    /// Results that one word holds.
    #[must_use]
    pub(super) fn a_word(&self) -> u64 {
        self.collected.map(Collected::a_word).or(self.published.map(Published::a_word)).unwrap_or(1)
    }

    /// The name in labels and messages: the kernel, then each choice.
    #[must_use]
    pub fn name(&self) -> String {
        let choices = [
            self.element.map(Element::name),
            self.placement.map(Placement::name),
            self.lanes.map(Lanes::name),
            self.moment.map(Moment::name),
            self.affine.filter(|a| *a != AffineSlot::None).map(AffineSlot::name),
            self.parameter.map(Parameter::name),
            self.saved.filter(|s| *s != Saved::None).map(Saved::name),
            self.registers.map(Registers::name),
            self.momentum.map(MomentumSlot::name),
            self.residual
                .filter(|r| *r != Residual::None)
                .map(|r| if r == Residual::Apart { "residual" } else { "residual_in_place" }),
            self.inflow.filter(|i| *i != Inflow::None).map(|_| "inflow"),
            self.of_parameters.map(OfParameters::name),
            self.collected.filter(|c| *c != Collected::Parts).map(Collected::name),
            self.beside.filter(|b| *b != Beside::Nothing).map(Beside::name),
            self.terms.filter(|t| *t != Terms::All).map(Terms::name),
            self.epsilon.filter(|e| *e != Epsilon::Fixed).map(Epsilon::name),
            self.picking.map(Picking::name),
            self.published.map(Published::name),
            self.tracked.filter(|t| *t != Tracked::None).map(Tracked::name),
            self.known.filter(|k| *k != Known::Statistics).map(Known::name),
        ];
        choices
            .into_iter()
            .flatten()
            .fold(format!("wgpu-norm.{}", self.kernel.name()), |name, choice| name + "." + choice)
    }

    /// Every variant that the engine can ask for.
    #[must_use]
    pub fn reachable() -> Vec<Self> {
        let mut all = Vec::new();
        for &kernel in Kernel::ALL {
            all.extend(Self::of_kernel(kernel));
        }
        all
    }

    /// Applies these statistics; of running estimates a kernel takes the root itself.
    pub(super) fn knows(&mut self, known: Known) {
        self.known = Some(known);
        self.epsilon = (known == Known::Estimates).then_some(Epsilon::Fixed);
    }

    /// Has a kernel that makes statistics move these running estimates.
    pub(super) fn tracks(&mut self, update: Option<RunningUpdate>) {
        self.tracked = Some(if update.is_some() { Tracked::Estimates } else { Tracked::None });
        self.momentum = update.map(MomentumSlot::of);
    }

    fn of_kernel(kernel: Kernel) -> Vec<Self> {
        let bare = vec![Self::new(kernel)];
        let with_lanes = |v| fill(v, Lanes::ALL, |v, lanes| v.lanes = Some(lanes));
        let on_one_lane = |v| fill(v, &[Lanes::Shared], |v, lanes| v.lanes = Some(lanes));
        let in_subgroups = |v| fill(v, &[Lanes::Subgroup], |v: &mut Self, lanes| v.lanes = Some(lanes));
        let with_elements = |v| fill(v, Element::ALL, |v, element| v.element = Some(element));
        let reading = |v| fill(v, &[Placement::Apart], |v, placement| v.placement = Some(placement));
        let writing = |v| fill(v, Placement::ALL, |v, placement| v.placement = Some(placement));
        let measuring = |v| fill(v, Moment::ALL, |v, moment| v.moment = Some(moment));
        let saving = |v| fill(v, Saved::ALL, |v, saved| v.saved = Some(saved));
        let with_registers = |v| fill(v, Registers::ALL, |v, registers| v.registers = Some(registers));
        let in_registers = |v: Vec<Self>| -> Vec<Self> {
            with_registers(v).into_iter().filter(|v| v.registers != Some(Registers::None)).collect()
        };
        let of_columns = |v| fill(v, &[Registers::R1, Registers::R8], |v, registers| v.registers = Some(registers));
        // Rows of whole packs have parameters in whole packs.
        let with_sums = |v: Vec<Self>| -> Vec<Self> {
            let all = fill(v, OfParameters::ALL, |v, sums| v.of_parameters = Some(sums));
            let fits = |v: &Self| v.of_parameters == Some(OfParameters::Pairs) || v.has_whole_packs();
            all.into_iter().filter(fits).collect()
        };
        let with_inflow = |v| fill(v, Inflow::ALL, |v, inflow| v.inflow = Some(inflow));
        let odd = |v| fill(v, &[Element::F16x1, Element::Bf16x1], |v, element| v.element = Some(element));
        let one_by_one = |v: Vec<Self>| -> Vec<Self> {
            v.into_iter().filter(|v| !v.parameter.is_some_and(Parameter::has_whole_packs)).collect()
        };
        let applying = |v: Vec<Self>| -> Vec<Self> {
            let bare = [AffineSlot::None, AffineSlot::Prepared];
            let without = fill(v.clone(), &bare, |v, affine| v.affine = Some(affine));
            let own = [AffineSlot::Scale, AffineSlot::Shift, AffineSlot::ScaleShift];
            let with = fill(v, &own, |v, affine| v.affine = Some(affine));
            let with = fill(with, Parameter::ALL, |v, parameter| v.parameter = Some(parameter));
            without.into_iter().chain(with).collect()
        };
        let fixed = |v| fill(v, &[Epsilon::Fixed], |v: &mut Self, epsilon| v.epsilon = Some(epsilon));
        // What is learned of eps is prepared with the other parameters, and belongs to a mean square.
        let with_epsilon = |v: Vec<Self>| -> Vec<Self> {
            let all = fill(v, Epsilon::ALL, |v, epsilon| v.epsilon = Some(epsilon));
            let fits = |v: &Self| v.affine == Some(AffineSlot::Prepared) && v.moment == Some(Moment::Uncentred);
            all.into_iter().filter(|v| v.epsilon == Some(Epsilon::Fixed) || fits(v)).collect()
        };
        let with_momentum = |v| fill(v, MomentumSlot::ALL, |v: &mut Self, momentum| v.momentum = Some(momentum));
        let tracking = |v, tracked| fill(v, &[tracked], |v: &mut Self, tracked| v.tracked = Some(tracked));
        // Running estimates are those of mean and variance, with a number for eps.
        let tracking_or_not = |v: Vec<Self>| -> Vec<Self> {
            let fits = |v: &Self| v.moment != Some(Moment::Uncentred) && v.epsilon == Some(Epsilon::Fixed);
            let tracked = v.iter().copied().filter(fits).collect();
            let tracked = with_momentum(tracking(tracked, Tracked::Estimates));
            tracking(v, Tracked::None).into_iter().chain(tracked).collect()
        };
        let knowing = |v| fill(v, Known::ALL, Self::knows);
        let short = [Parameter::F32x1, Parameter::F16x1, Parameter::Bf16x1];
        let with_words = |v| fill(v, &short, |v: &mut Self, parameter| v.parameter = Some(parameter));
        let kept = |v, choices: &[Collected]| fill(v, choices, |v: &mut Self, collected| v.collected = Some(collected));
        let gradients_in = |dtypes: &[Dtype]| -> Vec<Collected> {
            let in_them = |c: &Collected| c.dtype().is_some_and(|dtype| dtypes.contains(&dtype));
            Collected::ALL.iter().copied().filter(in_them).collect()
        };
        match kernel {
            Kernel::Resident => {
                let all = saving(with_epsilon(applying(measuring(with_lanes(writing(with_elements(bare)))))));
                let all = fill(all, Residual::ALL, |v, residual| v.residual = Some(residual));
                let fits = |v: &Self| v.tracked == Some(Tracked::None) || v.residual == Some(Residual::None);
                with_registers(tracking_or_not(all).into_iter().filter(fits).collect())
            }
            Kernel::Streaming => saving(with_epsilon(applying(measuring(with_lanes(writing(with_elements(bare))))))),
            Kernel::ResidentColumns => {
                let all = tracking_or_not(saving(with_epsilon(applying(measuring(with_lanes(writing(
                    with_elements(bare),
                )))))));
                fill(all, &[Registers::R8, Registers::R16], |v, registers| v.registers = Some(registers))
            }
            Kernel::Split => measuring(with_lanes(reading(with_elements(bare)))),
            Kernel::Column => of_columns(measuring(on_one_lane(reading(with_elements(bare))))),
            Kernel::Merge => {
                tracking_or_not(fill(with_lanes(bare), Epsilon::ALL, |v, epsilon| v.epsilon = Some(epsilon)))
            }
            Kernel::Average => tracking_or_not(fixed(with_lanes(bare))),
            Kernel::Mix => with_words(fixed(on_one_lane(bare))),
            Kernel::Unmix => with_words(on_one_lane(bare)),
            Kernel::Prepare => {
                with_words(fill(on_one_lane(bare), Picking::ALL, |v, picking| v.picking = Some(picking)))
            }
            Kernel::Publish => fill(on_one_lane(bare), Published::ALL, |v, published| v.published = Some(published)),
            Kernel::MomentsInflow => with_words(on_one_lane(bare)),
            Kernel::UnmixSums => with_lanes(bare),
            Kernel::Nothing => on_one_lane(bare),
            Kernel::MergeAffine => {
                let all = saving(applying(in_subgroups(writing(with_elements(bare)))));
                let fits = |v: &Self| v.epsilon == Some(Epsilon::Fixed) || v.affine == Some(AffineSlot::Prepared);
                fill(all, Epsilon::ALL, |v, epsilon| v.epsilon = Some(epsilon)).into_iter().filter(fits).collect()
            }
            Kernel::Affine | Kernel::AffineColumns => knowing(applying(on_one_lane(writing(with_elements(bare))))),
            Kernel::AffineFlat => knowing(one_by_one(applying(on_one_lane(writing(odd(bare)))))),
            Kernel::Given => fill(on_one_lane(bare), &[Known::Estimates], Self::knows),
            Kernel::Running => with_momentum(with_lanes(bare)),
            Kernel::Counter => bare,
            Kernel::Add => fill(on_one_lane(reading(with_elements(bare))), &Residual::ALL[1..], |v, residual| {
                v.residual = Some(residual);
            }),
            Kernel::ResidentGradient => {
                in_registers(with_sums(with_inflow(applying(measuring(with_lanes(writing(with_elements(bare))))))))
            }
            Kernel::ResidentGradientColumns => {
                let all = with_inflow(applying(measuring(with_lanes(writing(with_elements(bare))))));
                let all = fill(all, &[OfParameters::Pairs], |v, sums| v.of_parameters = Some(sums));
                fill(all, &[Registers::R8], |v, registers| v.registers = Some(registers))
            }
            Kernel::CachedGradient => {
                with_sums(with_inflow(applying(measuring(with_lanes(writing(with_elements(bare)))))))
            }
            Kernel::Sums => applying(with_lanes(reading(with_elements(bare)))),
            Kernel::ColumnSums => {
                let all = of_columns(applying(on_one_lane(reading(with_elements(bare)))));
                let with_f32 = |v: &Self| {
                    v.affine != Some(AffineSlot::Prepared)
                        && v.parameter.is_none_or(|parameter| parameter.dtype() == Dtype::F32)
                };
                let straight = kept(all.iter().copied().filter(with_f32).collect(), &gradients_in(&[Dtype::F32]));
                let all: Vec<Self> = kept(all, &[Collected::Parts]).into_iter().chain(straight).collect();
                let has_no_more = |v: &Self| matches!(v.affine, Some(AffineSlot::None | AffineSlot::Scale));
                let plain = all.iter().copied().filter(has_no_more).collect();
                let beside = |v, choice| fill(v, &[choice], |v: &mut Self, beside| v.beside = Some(beside));
                let writing = measuring(beside(plain, Beside::Gradient));
                beside(all, Beside::Nothing).into_iter().chain(writing).collect()
            }
            Kernel::Collect => {
                let of_terms = |v, terms: &[Terms]| fill(v, terms, |v: &mut Self, terms| v.terms = Some(terms));
                let plain = fill(on_one_lane(bare), &[AffineSlot::None], |v, affine| v.affine = Some(affine));
                let scaled = fill(plain.clone(), &[AffineSlot::Scale], |v, affine| v.affine = Some(affine));
                let scaled = fill(scaled, Parameter::ALL, |v, parameter| v.parameter = Some(parameter));
                let prepared = fill(on_one_lane(vec![Self::new(kernel)]), &[AffineSlot::Prepared], |v, affine| {
                    v.affine = Some(affine);
                });
                let scaled = one_by_one(scaled);
                let gradients = gradients_in(&Dtype::ALL);
                let of_parameters = kept(plain.clone(), &gradients);
                let as_stored =
                    |v: &Self| v.parameter == v.collected.and_then(Collected::dtype).map(Parameter::one_by_one);
                let of_channels = kept(scaled.clone(), &gradients).into_iter().filter(as_stored).collect();
                let sums = kept(plain.into_iter().chain(scaled).chain(prepared).collect(), &[Collected::Sums]);
                of_terms(sums, &[Terms::All])
                    .into_iter()
                    .chain(of_terms(of_parameters, Terms::ALL))
                    .chain(of_terms(of_channels, &[Terms::Channels]))
                    .collect()
            }
            Kernel::CollectGradient => with_inflow(measuring(applying(in_subgroups(writing(with_elements(bare)))))),
            Kernel::Gradient | Kernel::GradientColumns => {
                with_inflow(measuring(applying(on_one_lane(writing(with_elements(bare))))))
            }
            Kernel::GradientFlat => with_inflow(measuring(one_by_one(applying(on_one_lane(writing(odd(bare))))))),
        }
    }
}

/// Every variant with every choice.
fn fill<C: Copy>(variants: Vec<Variant>, choices: &[C], set: impl Fn(&mut Variant, C)) -> Vec<Variant> {
    let mut filled = Vec::with_capacity(variants.len() * choices.len());
    for variant in variants {
        for &choice in choices {
            let mut one = variant;
            set(&mut one, choice);
            filled.push(one);
        }
    }
    filled
}
