//! The tensors of a call, by what each is to the plan.

use crate::plan::Extra;

/// A variant for each tensor of a call, with its name in errors.
macro_rules! roles {
    ($($role:ident: $name:literal,)*) => {
        /// A tensor of a call, by what it is to the plan.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Role {
            $($role,)*
        }

        impl Role {
            pub(super) const ALL: [Self; [$($name),*].len()] = [$(Self::$role),*];

            /// The argument's name in errors.
            pub(super) const fn name(self) -> &'static str {
                match self {
                    $(Self::$role => $name,)*
                }
            }
        }
    };
}

roles! {
    Input: "input",
    Output: "output",
    Weight: "weight",
    Bias: "bias",
    RunningMean: "running_mean",
    RunningVar: "running_var",
    NumBatchesTracked: "num_batches_tracked",
    Residual: "residual",
    Sum: "sum",
    Statistics: "statistics",
    GradOutput: "grad_output",
    GradSum: "grad_sum",
    GradInput: "grad_input",
    GradWeight: "grad_weight",
    GradBias: "grad_bias",
    ClassWeight: "class_weight",
    ClassBias: "class_bias",
    Tau: "tau",
    EpsL: "eps_l",
    MeanWeight: "mean_weight",
    VarWeight: "var_weight",
    GradClassWeight: "grad_class_weight",
    GradClassBias: "grad_class_bias",
    GradTau: "grad_tau",
    GradEpsL: "grad_eps_l",
    GradMeanWeight: "grad_mean_weight",
    GradVarWeight: "grad_var_weight",
    Labels: "labels",
    ErrorFlag: "error_flag",
    Mean: "mean",
    Std: "std",
    GradMean: "grad_mean",
    GradStd: "grad_std",
    Sums: "sums",
}

impl Role {
    /// Whether it is a part of the state that training moves.
    pub(super) const fn is_state(self) -> bool {
        matches!(self, Self::RunningMean | Self::RunningVar | Self::NumBatchesTracked)
    }

    /// What only some normalizations learn.
    pub(super) const EXTRA: Extra<Self> = Extra {
        class_weight: Self::ClassWeight,
        class_bias: Self::ClassBias,
        tau: Self::Tau,
        eps_l: Self::EpsL,
        mean_weight: Self::MeanWeight,
        var_weight: Self::VarWeight,
    };

    /// The gradients of these.
    pub(super) const GRAD_EXTRA: Extra<Self> = Extra {
        class_weight: Self::GradClassWeight,
        class_bias: Self::GradClassBias,
        tau: Self::GradTau,
        eps_l: Self::GradEpsL,
        mean_weight: Self::GradMeanWeight,
        var_weight: Self::GradVarWeight,
    };
}
