//! The table of slots: every choice that a kernel is specialised by, and the file behind it.

use crate::plan::{Momentum, RunningUpdate};

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
        Resident = "resident" ["group", "task", "place", "walk", "moments", "gather", "statistics", "rstd", "epilogue"],
        /// Holds columns of groups that lie side by side in registers.
        ResidentColumns = "resident_columns" ["column_item", "heads", "task", "place", "moments", "gather", "rstd", "epilogue"],
        /// Goes through a long group twice.
        Streaming = "streaming" ["together", "apply", "shifts", "kept", "task", "place", "walk", "moments", "gather", "statistics", "rstd", "partial", "four", "epilogue"],
        /// Writes the moments of parts of a group.
        Split = "split" ["partial_item", "task", "place", "walk", "moments", "gather", "partial"],
        /// Writes the moments of groups that lie side by side.
        Column = "column" ["column_item", "heads", "tile", "kept", "task", "place", "moments"],
        /// Merges partial moments.
        Merge = "merge" ["task", "place", "moments", "gather", "statistics", "rstd"],
        /// Applies statistics, row by row.
        Affine = "affine" ["row_item", "together", "apply", "shifts", "kept", "task", "place", "four", "epilogue"],
        /// Merges partial moments and applies them, row by row.
        MergeAffine = "merge_affine" ["row_item", "apply", "shifts", "task", "place", "moments", "gather", "statistics", "rstd", "four", "epilogue"],
        /// Applies statistics to groups that lie side by side.
        AffineColumns = "affine_columns" ["column_item", "shifts", "task", "place", "four", "epilogue"],
        /// Applies statistics to packed rows of odd length.
        AffineFlat = "affine_flat" ["task", "place", "four", "epilogue", "flat", "store_within"],
        /// Takes running estimates as statistics.
        Given = "given" ["task", "place"],
        /// Takes values for normalized ones as they are.
        Nothing = "nothing" ["task", "place"],
        /// Averages the statistics of instances.
        Average = "average" ["instances", "task", "place", "moments", "gather", "statistics", "rstd"],
        /// Mixes the statistics of instances, layers and the batch.
        Mix = "mix" ["task", "place", "moments", "statistics", "rstd", "shares"],
        /// Makes the parameters of the affine map from the caller's.
        Prepare = "prepare" ["task", "place"],
        /// Writes mean and deviation of each group.
        Publish = "publish" ["task", "place"],
        /// Updates running estimates.
        Running = "running" ["task", "place", "moments", "gather", "move_estimates"],
        /// Counts a batch.
        Counter = "counter" ["counter"],
        /// Adds the residual.
        Add = "add" ["task", "place"],
        /// Holds what backward needs of a whole group in registers.
        ResidentGradient = "resident_gradient" ["group", "block", "task", "place", "walk", "moments", "gather", "epilogue", "four", "gradient", "x", "of_statistics"],
        /// Holds what backward needs of columns of groups that lie side by side in registers.
        ResidentGradientColumns = "resident_gradient_columns" ["column_item", "task", "place", "moments", "gather", "epilogue", "four", "gradient", "x", "of_statistics"],
        /// Takes the gradients of groups that a processor's cache holds.
        CachedGradient = "cached_gradient" ["kept", "task", "place", "walk", "moments", "gather", "epilogue", "four", "gradient", "x", "of_statistics"],
        /// Sums gradients over parts of groups or cells.
        Sums = "sums" ["partial_item", "task", "place", "walk", "moments", "gather", "epilogue", "four", "gradient", "x", "statistic_map", "summed"],
        /// Sums gradients over groups or cells that lie side by side.
        ColumnSums = "column_sums" ["column_item", "tile", "kept", "task", "place", "epilogue", "four", "gradient", "x", "statistic_map", "summed"],
        /// Adds sums up.
        Collect = "collect" ["task", "place", "moments", "gather"],
        /// The input's gradient, row by row.
        Gradient = "gradient" ["row_item", "gradient_row", "task", "place", "moments", "epilogue", "four", "gradient", "x", "of_statistics", "through", "group_sums"],
        /// Collects the sums of groups and makes the input's gradient of them, row by row.
        CollectGradient = "collect_gradient" ["row_item", "gradient_row", "task", "place", "moments", "gather", "epilogue", "four", "gradient", "x", "of_statistics", "through", "positive_zero"],
        /// The input's gradient, for groups that lie side by side.
        GradientColumns = "gradient_columns" ["column_item", "task", "place", "moments", "epilogue", "four", "gradient", "x", "of_statistics", "through", "group_sums"],
        /// The input's gradient in packed rows of odd length.
        GradientFlat = "gradient_flat" ["task", "place", "moments", "epilogue", "four", "gradient", "x", "of_statistics", "through", "group_sums", "flat", "store_within"],
        /// Adds up what reaches the mixtures of layers and of the batch.
        UnmixSums = "unmix_sums" ["instances", "of_mixture", "task", "place", "moments", "gather"],
        /// What reaches mixed statistics goes on to those of the instances.
        Unmix = "unmix" ["of_mixture", "task", "place", "shares"],
        /// Gradients that flow into means and deviations join the sums over groups.
        MomentsInflow = "moments_inflow" ["task", "place"],
    }
}

slot! {
    /// How the tensor's elements are loaded and stored.
    Element in "slots/element" {
        /// f32, whole packs of four.
        F32x4 = "f32x4" ["load", "store", "whole_words", "whole_packs"],
        /// f32, one at a time.
        F32x1 = "f32x1" ["load", "store", "whole_words", "short_packs"],
        /// f16 packed in u32, whole packs.
        F16x4 = "f16x4" ["load", "store", "whole_words", "whole_packs", "f16"],
        /// f16 packed in u32, two at a time.
        F16x1 = "f16x1" ["load", "store", "halves", "short_packs", "f16"],
        /// bf16 packed in u32, whole packs.
        Bf16x4 = "bf16x4" ["load", "store", "whole_words", "whole_packs", "bf16"],
        /// bf16 packed in u32, two at a time.
        Bf16x1 = "bf16x1" ["load", "store", "halves", "short_packs", "bf16"],
        /// The adapter's own f16, whole packs.
        NativeF16x4 = "native_f16x4" ["load", "store", "whole_words", "whole_packs"],
        /// The adapter's own f16, one at a time.
        NativeF16x1 = "native_f16x1" ["load", "store", "whole_words", "short_packs"],
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
        Shared = "shared" ["exchange", "hidden"],
        /// By subgroup operations.
        Subgroup = "subgroup" ["exchange", "hidden"],
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
        /// f16 packed in u32, whole packs.
        F16x4 = "f16x4" [],
        /// f16 packed in u32, one at a time.
        F16x1 = "f16x1" [],
        /// bf16 packed in u32, whole packs.
        Bf16x4 = "bf16x4" [],
        /// bf16 packed in u32, one at a time.
        Bf16x1 = "bf16x1" [],
    }
}

slot! {
    /// Which parameters there are.
    AffineSlot in "slots/affine" {
        /// None.
        None = "none" ["parameters", "one_table", "one_for_all", "unclipped"],
        /// A weight.
        Scale = "scale" ["parameters", "bound_parameter", "parameter_steps", "weight", "unclipped"],
        /// A bias.
        Shift = "shift" ["parameters", "bound_parameter", "parameter_steps", "bias", "unclipped"],
        /// Both.
        ScaleShift = "scale_shift" ["parameters", "bound_parameter", "parameter_steps", "weight", "bias", "unclipped"],
        /// Both, made ready by another kernel, and a threshold.
        Prepared = "prepared" ["parameters", "one_table", "parameter_steps", "prepared"],
    }
}

slot! {
    /// What is added to the variance.
    Epsilon in "slots/epsilon" {
        /// A number.
        Fixed = "fixed" [],
        /// A number and what is learned.
        Learned = "learned" ["prepared"],
    }
}

slot! {
    /// Where the parameters of the affine map come from.
    Picking in "slots/picking" {
        /// From those of the columns.
        Own = "own" [],
        /// From tables, a row a sample.
        Labelled = "labelled" ["labels"],
    }
}

slot! {
    /// How mean and deviation are written.
    Published in "slots/published" {
        /// f32.
        F32 = "f32" [],
        /// f16, two a word.
        F16 = "f16" ["pair", "f16"],
        /// bf16, two a word.
        Bf16 = "bf16" ["pair", "bf16"],
    }
}

slot! {
    /// Which terms are collected.
    Terms in "slots/terms" {
        /// All, each by its weight.
        All = "all" [],
        /// Those of each class, for its table.
        Classes = "classes" ["labels", "prepared"],
        /// All, each by the factor of its class.
        Shared = "shared" ["prepared"],
        /// All; a group takes their sum as well, by its weight.
        Channels = "channels" ["positive_zero"],
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
        R1 = "r1" ["held"],
        /// Two.
        R2 = "r2" ["held"],
        /// Four.
        R4 = "r4" ["held"],
        /// Eight.
        R8 = "r8" ["held"],
        /// 16.
        R16 = "r16" ["held"],
        /// 26: with what else a lane needs they are just within the 128 registers that 512 lanes have each.
        R26 = "r26" ["held"],
        /// They are read again.
        None = "none" [],
    }
}

slot! {
    /// Whether a residual is added to the input.
    Residual in "slots/residual" {
        /// There is none.
        None = "none" [],
        /// The sum has a buffer of its own.
        Apart = "apart" ["load_added", "added", "sum"],
        /// The sum takes the residual's place.
        InPlace = "in_place" ["load_added", "sum"],
    }
}

slot! {
    /// Whether a gradient reaches the sum of input and residual by other ways.
    Inflow in "slots/inflow" {
        /// None does.
        None = "none" [],
        /// It is added.
        Added = "added" ["load_added", "added"],
    }
}

slot! {
    /// Where sums go.
    Collected in "slots/collected" {
        /// To a dispatch that collects them.
        Parts = "parts" [],
        /// To other dispatches.
        Sums = "sums" [],
        /// To the gradient of the weight, in f32.
        WeightF32 = "weight_f32" [],
        /// In f16.
        WeightF16 = "weight_f16" ["pair", "f16"],
        /// In bf16.
        WeightBf16 = "weight_bf16" ["pair", "bf16"],
        /// To the gradient of the bias, in f32.
        BiasF32 = "bias_f32" [],
        /// In f16.
        BiasF16 = "bias_f16" ["pair", "f16"],
        /// In bf16.
        BiasBf16 = "bias_bf16" ["pair", "bf16"],
        /// To both, in f32.
        BothF32 = "both_f32" [],
        /// In f16.
        BothF16 = "both_f16" ["pair", "f16"],
        /// In bf16.
        BothBf16 = "both_bf16" ["pair", "bf16"],
    }
}

slot! {
    /// What a kernel writes beside the sums of columns.
    Beside in "slots/beside" {
        /// Nothing.
        Nothing = "nothing" [],
        /// The input's gradient, of rows that are groups.
        Gradient = "gradient" ["moments", "of_statistics", "through", "group_sums"],
    }
}

slot! {
    /// How sums for the parameters' gradients are written.
    OfParameters in "slots/of_parameters" {
        /// Pair by pair.
        Pairs = "pairs" [],
        /// Whole packs of places, two pairs a word.
        Packs = "packs" [],
    }
}

slot! {
    /// Where the share of the new value comes from.
    MomentumSlot in "slots/momentum" {
        /// The same every time.
        Fixed = "fixed" [],
        /// The same every time, and batches are counted.
        Counted = "counted" ["counter"],
        /// One over the batches so far, which another kernel counts.
        Cumulative = "cumulative" [],
    }
}

slot! {
    /// Whether running estimates follow the statistics at once.
    Tracked in "slots/tracked" {
        /// They do not.
        None = "none" [],
        /// Each those of its channel.
        Estimates = "estimates" ["move_estimates"],
    }
}

slot! {
    /// Where statistics that are applied come from.
    Known in "slots/known" {
        /// They are at hand.
        Statistics = "statistics" [],
        /// They are running estimates.
        Estimates = "estimates" ["rstd"],
    }
}

impl Kernel {
    /// Whether its teams take columns of several rows.
    #[must_use]
    pub const fn takes_columns(self) -> bool {
        matches!(
            self,
            Self::ResidentColumns
                | Self::ResidentGradientColumns
                | Self::Column
                | Self::ColumnSums
                | Self::AffineColumns
                | Self::GradientColumns
        )
    }

    /// Whether its lanes add up what they load one after the other, as [`Capabilities::loads_first`] decides.
    ///
    /// [`Capabilities::loads_first`]: super::capabilities::Capabilities::loads_first
    #[must_use]
    pub const fn adds_up_loads(self) -> bool {
        matches!(self, Self::Column | Self::Collect)
    }

    /// Whether its lanes walk through boxes of rows.
    #[must_use]
    pub const fn walks(self) -> bool {
        matches!(
            self,
            Self::Resident | Self::Streaming | Self::Split | Self::ResidentGradient | Self::CachedGradient | Self::Sums
        )
    }

    /// Whether the lanes of a team, which are neighbours, exchange values.
    #[must_use]
    pub const fn exchanges(self) -> bool {
        matches!(
            self,
            Self::Resident
                | Self::ResidentColumns
                | Self::Streaming
                | Self::Split
                | Self::Merge
                | Self::MergeAffine
                | Self::Running
                | Self::ResidentGradient
                | Self::ResidentGradientColumns
                | Self::CachedGradient
                | Self::Sums
                | Self::CollectGradient
                | Self::Average
                | Self::UnmixSums
        )
    }
}

impl MomentumSlot {
    pub(super) const fn of(update: RunningUpdate) -> Self {
        match update.momentum {
            Momentum::Fixed(_) if update.counter => Self::Counted,
            Momentum::Fixed(_) => Self::Fixed,
            Momentum::Cumulative => Self::Cumulative,
        }
    }
}

impl Registers {
    /// The number of packs that are held.
    #[must_use]
    pub const fn packs(self) -> u64 {
        match self {
            Self::None => 0,
            Self::R1 => 1,
            Self::R2 => 2,
            Self::R4 => 4,
            Self::R8 => 8,
            Self::R16 => 16,
            Self::R26 => 26,
        }
    }

    /// The least choice that holds this many packs.
    #[must_use]
    pub fn holding(packs: u64) -> Option<Self> {
        Self::ALL.iter().copied().find(|r| r.packs() >= packs)
    }
}

/// What the collect kernel has in place of an epilogue.
pub(super) const NOTHING_ROUNDED: File = file!("shared/nothing_rounded.wgsl");
