//! What the choices of slots have to do with storage types.

use super::slots::{Collected, Element, Parameter, Published};
use crate::tensor::Dtype;

impl Collected {
    /// The choice for gradients of these parameters, stored in this type; sums where of none.
    #[must_use]
    pub const fn of(weight: bool, bias: bool, dtype: Dtype) -> Self {
        match (weight, bias, dtype) {
            (true, true, Dtype::F32) => Self::BothF32,
            (true, true, Dtype::F16) => Self::BothF16,
            (true, true, Dtype::Bf16) => Self::BothBf16,
            (true, false, Dtype::F32) => Self::WeightF32,
            (true, false, Dtype::F16) => Self::WeightF16,
            (true, false, Dtype::Bf16) => Self::WeightBf16,
            (false, true, Dtype::F32) => Self::BiasF32,
            (false, true, Dtype::F16) => Self::BiasF16,
            (false, true, Dtype::Bf16) => Self::BiasBf16,
            (false, false, _) => Self::Sums,
        }
    }

    /// Whether the gradient of the weight is among them, and whether that of the bias is.
    #[must_use]
    pub const fn parameters(self) -> (bool, bool) {
        match self {
            Self::Parts | Self::Sums => (false, false),
            Self::WeightF32 | Self::WeightF16 | Self::WeightBf16 => (true, false),
            Self::BiasF32 | Self::BiasF16 | Self::BiasBf16 => (false, true),
            Self::BothF32 | Self::BothF16 | Self::BothBf16 => (true, true),
        }
    }

    /// What gradients are stored in; sums are pairs of f32.
    #[must_use]
    pub const fn dtype(self) -> Option<Dtype> {
        match self {
            Self::Parts | Self::Sums => None,
            Self::WeightF32 | Self::BiasF32 | Self::BothF32 => Some(Dtype::F32),
            Self::WeightF16 | Self::BiasF16 | Self::BothF16 => Some(Dtype::F16),
            Self::WeightBf16 | Self::BiasBf16 | Self::BothBf16 => Some(Dtype::Bf16),
        }
    }

    /// Sums that one word of results holds.
    #[must_use]
    pub const fn a_word(self) -> u64 {
        match self.dtype() {
            None | Some(Dtype::F32) => 1,
            Some(Dtype::F16 | Dtype::Bf16) => 2,
        }
    }
}

impl Published {
    /// The choice for a storage type.
    #[must_use]
    pub const fn of(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::Bf16 => Self::Bf16,
        }
    }

    /// Values that one word holds.
    #[must_use]
    pub const fn a_word(self) -> u64 {
        match self {
            Self::F32 => 1,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

impl Parameter {
    /// The choice that reads parameters one by one.
    #[must_use]
    pub const fn one_by_one(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32x1,
            Dtype::F16 => Self::F16x1,
            Dtype::Bf16 => Self::Bf16x1,
        }
    }

    /// The choice that reads four neighbours at once.
    #[must_use]
    pub const fn four_by_four(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32x4,
            Dtype::F16 => Self::F16x4,
            Dtype::Bf16 => Self::Bf16x4,
        }
    }

    /// The storage type.
    #[must_use]
    pub const fn dtype(self) -> Dtype {
        match self {
            Self::F32x4 | Self::F32x1 => Dtype::F32,
            Self::F16x4 | Self::F16x1 => Dtype::F16,
            Self::Bf16x4 | Self::Bf16x1 => Dtype::Bf16,
        }
    }

    /// Whether a word is four of them.
    #[must_use]
    pub const fn has_whole_packs(self) -> bool {
        matches!(self, Self::F32x4 | Self::F16x4 | Self::Bf16x4)
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

    /// Whether a word is a pack of four.
    #[must_use]
    pub const fn has_whole_packs(self) -> bool {
        matches!(self, Self::F32x4 | Self::F16x4 | Self::Bf16x4 | Self::NativeF16x4)
    }

    /// Whether the device needs `SHADER_F16`.
    #[must_use]
    pub const fn is_native_f16(self) -> bool {
        matches!(self, Self::NativeF16x4 | Self::NativeF16x1)
    }
}
