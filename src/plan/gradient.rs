use super::Plan;
use super::arguments::{check_parameter, check_tensor};
use super::check_len;
use crate::error::{Error, Result};
use crate::tensor::Data;

/// What a forward pass knows of its groups and backward needs again, in host memory.
///
/// Entry `i_a * c + i_c` belongs to that statistic of the plan's view.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Statistics {
    /// The mean that was subtracted; 0 where the statistic is uncentred.
    pub mean: Vec<f64>,
    /// `1 / sqrt(var + eps)`.
    pub rstd: Vec<f64>,
}

/// Which gradients are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// That of the input; where the plan has a residual it is the residual's as well.
    pub input: bool,
    /// That of the weight.
    pub weight: bool,
    /// That of the bias.
    pub bias: bool,
}

impl Wanted {
    /// Everything that the plan has.
    #[must_use]
    pub fn all(plan: &Plan) -> Self {
        Self { input: true, weight: plan.affine.weight.is_some(), bias: plan.affine.bias.is_some() }
    }

    /// Whether that of any parameter is.
    #[must_use]
    pub fn parameters(self) -> bool {
        self.weight || self.bias
    }

    /// Checks that the plan has what is asked for.
    ///
    /// # Errors
    ///
    /// When the gradient of a parameter is asked for that the plan has not.
    pub fn check(self, plan: &Plan) -> Result<()> {
        let reason = "the plan was lowered without the parameter";
        for (argument, wanted, has) in [
            ("grad_weight", self.weight, plan.affine.weight.is_some()),
            ("grad_bias", self.bias, plan.affine.bias.is_some()),
        ] {
            if wanted && !has {
                return Err(Error::Unexpected { argument, reason });
            }
        }
        Ok(())
    }
}

/// The tensors that a backward pass reads, in host memory.
#[derive(Debug, Clone, Copy)]
pub struct GradientArguments<'a> {
    /// What was normalized: the input, or its sum with the residual.
    pub input: &'a Data,
    /// The gradient of the output.
    pub grad_output: &'a Data,
    /// The gradient that flows into the sum by other ways, where the plan has a residual.
    pub grad_sum: Option<&'a Data>,
    /// What the forward pass kept.
    pub statistics: &'a Statistics,
    /// The factor after the normalization.
    pub weight: Option<&'a Data>,
    /// The summand after the factor.
    pub bias: Option<&'a Data>,
}

/// Gradients in host memory, each where it was asked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Gradients {
    /// That of the input, in its type.
    pub input: Option<Data>,
    /// That of the weight, in its type.
    pub weight: Option<Data>,
    /// That of the bias, in its type.
    pub bias: Option<Data>,
}

impl Gradients {
    /// Zeros for what is wanted.
    #[must_use]
    pub fn zeros(plan: &Plan, wanted: Wanted) -> Self {
        let len = plan.affine.map.len;
        let parameter = |wanted: bool, dtype: Option<_>| dtype.filter(|_| wanted).map(|dtype| Data::zeros(dtype, len));
        Self {
            input: wanted.input.then(|| Data::zeros(plan.dtype, plan.view.elements())),
            weight: parameter(wanted.weight, plan.affine.weight),
            bias: parameter(wanted.bias, plan.affine.bias),
        }
    }

    /// What is asked for.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        Wanted { input: self.input.is_some(), weight: self.weight.is_some(), bias: self.bias.is_some() }
    }
}

impl GradientArguments<'_> {
    /// Checks that every tensor is there, and as long and of the type that `plan` says.
    ///
    /// # Errors
    ///
    /// When one is missing, not expected, of another length or of another type.
    pub fn check(&self, plan: &Plan) -> Result<()> {
        check_tensor("input", self.input, plan)?;
        check_tensor("grad_output", self.grad_output, plan)?;
        if let Some(grad_sum) = self.grad_sum {
            if !plan.residual {
                return Err(Error::Unexpected {
                    argument: "grad_sum",
                    reason: "the plan was lowered without a residual",
                });
            }
            check_tensor("grad_sum", grad_sum, plan)?;
        }
        check_parameter("weight", self.weight, plan.affine.weight, plan.affine.map.len)?;
        check_parameter("bias", self.bias, plan.affine.bias, plan.affine.map.len)?;
        if plan.view.elements() == 0 {
            return Ok(());
        }
        check_len("statistics", self.statistics.mean.len(), plan.view.statistics())?;
        check_len("statistics", self.statistics.rstd.len(), plan.view.statistics())
    }
}
