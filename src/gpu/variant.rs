//! The table of slots: every choice that a kernel is specialised by, and the file behind it.

use crate::tensor::Dtype;

/// A file of shader source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// Its path below `shaders/`.
    pub path: &'static str,
    /// Its text.
    pub text: &'static str,
}

macro_rules! file {
    ($path:expr) => {
        File { path: $path, text: include_str!(concat!("../../shaders/", $path)) }
    };
}

/// Declares a slot: an enum with one choice a file, and what else that file requires.
macro_rules! slot {
    ($(#[$doc:meta])* $name:ident in $folder:literal { $($(#[$choice_doc:meta])* $choice:ident = $stem:literal [$($shared:literal),*]),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$choice_doc])* $choice),* }

        impl $name {
            /// Every choice.
            pub const ALL: &'static [Self] = &[$(Self::$choice),*];

            /// The name, which is the file's stem.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$choice => $stem),* }
            }

            /// The choice's own file, then the shared ones that it requires.
            #[must_use]
            pub fn files(self) -> &'static [File] {
                match self {
                    $(Self::$choice => &[file!(concat!($folder, "/", $stem, ".wgsl")) $(, file!(concat!("shared/", $shared, ".wgsl")))*]),*
                }
            }
        }
    };
}

slot! {
    /// What a dispatch does.
    Kernel in "kernels" {
        /// Holds a whole group in registers.
        Resident = "resident" ["task", "place", "walk", "moments", "gather", "statistics"],
        /// Goes through a long group twice.
        Streaming = "streaming" ["task", "place", "walk", "moments", "gather", "statistics", "partial", "normalized"],
        /// Writes the moments of parts of a group.
        Split = "split" ["task", "place", "walk", "moments", "gather", "partial"],
        /// Writes the moments of groups that lie side by side.
        Column = "column" ["task", "place", "moments"],
        /// Merges partial moments.
        Merge = "merge" ["task", "place", "moments", "gather", "statistics"],
        /// Applies statistics, row by row.
        Affine = "affine" ["task", "place", "normalized"],
        /// Applies statistics to packed rows of odd length.
        AffineFlat = "affine_flat" ["task", "place", "normalized"],
        /// Takes running estimates as statistics.
        Given = "given" ["task", "place", "moments", "statistics"],
        /// Updates running estimates.
        Running = "running" ["task", "place", "moments", "gather"],
        /// Counts a batch.
        Counter = "counter" [],
    }
}

slot! {
    /// How the tensor's elements are loaded and stored.
    Element in "slots/element" {
        /// f32, whole packs of four.
        F32x4 = "f32x4" ["whole_packs"],
        /// f32, one at a time.
        F32x1 = "f32x1" ["short_packs"],
        /// f16 packed in u32, whole packs.
        F16x4 = "f16x4" ["f16", "whole_packs"],
        /// f16 packed in u32, two at a time.
        F16x1 = "f16x1" ["f16", "halves", "short_packs"],
        /// bf16 packed in u32, whole packs.
        Bf16x4 = "bf16x4" ["bf16", "whole_packs"],
        /// bf16 packed in u32, two at a time.
        Bf16x1 = "bf16x1" ["bf16", "halves", "short_packs"],
        /// The adapter's own f16, whole packs.
        NativeF16x4 = "native_f16x4" ["whole_packs"],
        /// The adapter's own f16, one at a time.
        NativeF16x1 = "native_f16x1" ["short_packs"],
    }
}

slot! {
    /// Whether output is a buffer of its own.
    Placement in "slots/placement" {
        /// Another buffer than the input.
        Apart = "apart" [],
        /// The input's buffer.
        InPlace = "in_place" [],
    }
}

slot! {
    /// How lanes exchange values.
    Lanes in "slots/lanes" {
        /// Through workgroup memory.
        Shared = "shared" [],
        /// By subgroup operations.
        Subgroup = "subgroup" [],
    }
}

slot! {
    /// What is measured.
    Moment in "slots/statistic" {
        /// Mean and centred sum of squares.
        Centred = "centred" [],
        /// Sum of squares about zero.
        Uncentred = "uncentred" [],
    }
}

slot! {
    /// How parameters are stored.
    Parameter in "slots/parameter" {
        /// f32, whole packs of four.
        F32x4 = "f32x4" [],
        /// f32, one at a time.
        F32x1 = "f32x1" [],
        /// f16 packed in u32.
        F16x1 = "f16x1" [],
        /// bf16 packed in u32.
        Bf16x1 = "bf16x1" [],
    }
}

slot! {
    /// Which parameters there are.
    AffineSlot in "slots/affine" {
        /// None.
        None = "none" [],
        /// A weight.
        Scale = "scale" ["parameter_steps", "weight"],
        /// A bias.
        Shift = "shift" ["parameter_steps", "bias"],
        /// Both.
        ScaleShift = "scale_shift" ["parameter_steps", "weight", "bias"],
    }
}

slot! {
    /// Whether the statistics are kept.
    Saved in "slots/saved" {
        /// They are not.
        None = "none" [],
        /// In a buffer.
        Statistics = "statistics" [],
    }
}

slot! {
    /// Packs that a lane of the resident kernel holds at most.
    Registers in "slots/registers" {
        /// One.
        R1 = "r1" [],
        /// Two.
        R2 = "r2" [],
        /// Four.
        R4 = "r4" [],
        /// Eight.
        R8 = "r8" [],
        /// 16.
        R16 = "r16" [],
        /// 32.
        R32 = "r32" [],
        /// 64.
        R64 = "r64" [],
        /// 128.
        R128 = "r128" [],
    }
}

slot! {
    /// Where the share of the new value comes from.
    MomentumSlot in "slots/momentum" {
        /// The same every time.
        Fixed = "fixed" [],
        /// One over the batches so far.
        Cumulative = "cumulative" [],
    }
}

impl Registers {
    /// The number of packs.
    #[must_use]
    pub const fn packs(self) -> u64 {
        1 << self as u32
    }

    /// The least choice that holds this many packs.
    #[must_use]
    pub fn holding(packs: u64) -> Option<Self> {
        Self::ALL.iter().copied().find(|r| r.packs() >= packs)
    }
}

impl Element {
    /// The storage type.
    #[must_use]
    pub const fn dtype(self) -> Dtype {
        match self {
            Self::F32x4 | Self::F32x1 => Dtype::F32,
            Self::F16x4 | Self::F16x1 | Self::NativeF16x4 | Self::NativeF16x1 => Dtype::F16,
            Self::Bf16x4 | Self::Bf16x1 => Dtype::Bf16,
        }
    }

    /// Whether two neighbouring elements share a word, so that one cannot be written without the other.
    #[must_use]
    pub const fn shares_words(self) -> bool {
        matches!(self, Self::F16x1 | Self::Bf16x1)
    }

    /// Whether the device needs `SHADER_F16`.
    #[must_use]
    pub const fn is_native_f16(self) -> bool {
        matches!(self, Self::NativeF16x4 | Self::NativeF16x1)
    }
}

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
        }
    }

    /// The files that make up the shader, the kernel's own first; shared ones may recur.
    pub fn files(&self) -> impl Iterator<Item = &'static File> + '_ {
        let slots: [&'static [File]; 10] = [
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
        ];
        slots.into_iter().flatten()
    }

    /// Whether the device needs `SHADER_F16`.
    #[must_use]
    pub fn needs_f16(&self) -> bool {
        self.element.is_some_and(Element::is_native_f16)
    }

    /// Whether the device needs `SUBGROUP`.
    #[must_use]
    pub fn needs_subgroups(&self) -> bool {
        self.lanes == Some(Lanes::Subgroup)
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

    fn of_kernel(kernel: Kernel) -> Vec<Self> {
        let bare = vec![Self::new(kernel)];
        let with_lanes = |v| fill(v, Lanes::ALL, |v, lanes| v.lanes = Some(lanes));
        let on_one_lane = |v| fill(v, &[Lanes::Shared], |v, lanes| v.lanes = Some(lanes));
        let with_elements = |v| fill(v, Element::ALL, |v, element| v.element = Some(element));
        let reading = |v| fill(v, &[Placement::Apart], |v, placement| v.placement = Some(placement));
        let writing = |v| fill(v, Placement::ALL, |v, placement| v.placement = Some(placement));
        let measuring = |v| fill(v, Moment::ALL, |v, moment| v.moment = Some(moment));
        let saving = |v| fill(v, Saved::ALL, |v, saved| v.saved = Some(saved));
        let applying = |v: Vec<Self>| -> Vec<Self> {
            let without = fill(v.clone(), &[AffineSlot::None], |v, affine| v.affine = Some(affine));
            let with = fill(v, &AffineSlot::ALL[1..], |v, affine| v.affine = Some(affine));
            let with = fill(with, Parameter::ALL, |v, parameter| v.parameter = Some(parameter));
            without.into_iter().chain(with).collect()
        };
        match kernel {
            Kernel::Resident => {
                let all = saving(applying(measuring(with_lanes(writing(with_elements(bare))))));
                fill(all, Registers::ALL, |v, registers| v.registers = Some(registers))
            }
            Kernel::Streaming => saving(applying(measuring(with_lanes(writing(with_elements(bare)))))),
            Kernel::Split => measuring(with_lanes(reading(with_elements(bare)))),
            Kernel::Column => measuring(on_one_lane(reading(with_elements(bare)))),
            Kernel::Merge => with_lanes(bare),
            Kernel::Affine => applying(on_one_lane(writing(with_elements(bare)))),
            Kernel::AffineFlat => {
                let odd = fill(bare, &[Element::F16x1, Element::Bf16x1], |v, element| v.element = Some(element));
                let all = applying(on_one_lane(writing(odd)));
                all.into_iter().filter(|v| v.parameter != Some(Parameter::F32x4)).collect()
            }
            Kernel::Given => on_one_lane(bare),
            Kernel::Running => fill(with_lanes(bare), MomentumSlot::ALL, |v, momentum| v.momentum = Some(momentum)),
            Kernel::Counter => bare,
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
