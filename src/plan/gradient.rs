use super::arguments::{check_dtype, check_labels, check_parameter, check_parameters, check_tensor};
use super::{Extra, Moments, Plan, Source, Statistic, check_len};
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
    /// What was mixed, where statistics are mixtures: the moments of the instances, the layers and the batch, one
    /// after the other.
    pub sources: Moments,
}

/// Which gradients are asked for; none at first.
///
/// ```
/// use wgpu_norm::Wanted;
///
/// let of_input = Wanted { input: true, ..Wanted::default() };
/// assert!(!of_input.parameters());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Wanted {
    /// That of the input; where the plan has a residual it is the residual's as well.
    pub input: bool,
    /// That of the weight.
    pub weight: bool,
    /// That of the bias.
    pub bias: bool,
    /// Those of what only some normalizations learn, all together.
    pub extra: bool,
}

impl Wanted {
    /// Everything that the plan has.
    #[must_use]
    pub fn all(plan: &Plan) -> Self {
        Self {
            input: true,
            weight: plan.affine.weight.is_some(),
            bias: plan.affine.bias.is_some(),
            extra: plan.extra.any(),
        }
    }

    /// Whether that of any parameter is.
    #[must_use]
    pub fn parameters(self) -> bool {
        self.weight || self.bias || self.extra
    }

    /// Checks that the plan has what is asked for.
    ///
    /// # Errors
    ///
    /// When the gradient of a parameter is asked for that the plan has not.
    pub fn check(self, plan: &Plan) -> Result<()> {
        let reason = "the normalization has no such parameter";
        for (argument, wanted, has) in [
            ("grad_weight", self.weight, plan.affine.weight.is_some()),
            ("grad_bias", self.bias, plan.affine.bias.is_some()),
            ("grad_extra", self.extra, plan.extra.any()),
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
    /// What only some normalizations learn.
    pub extra: Extra<Option<&'a Data>>,
    /// The class of each sample, where there are tables with a row for each class.
    pub labels: Option<&'a [i64]>,
    /// The gradient that flows into the means, one each, in the input's type.
    pub grad_mean: Option<&'a Data>,
    /// The gradient that flows into the deviations `sqrt(var + eps)`, one each, in the input's type.
    pub grad_std: Option<&'a Data>,
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
    /// Those of what only some normalizations learn, each in its type.
    pub extra: Extra<Option<Data>>,
}

impl Gradients {
    /// Zeros for what is wanted.
    #[must_use]
    pub fn zeros(plan: &Plan, wanted: Wanted) -> Self {
        let len = plan.parameter_len();
        let parameter = |wanted: bool, dtype: Option<_>| dtype.filter(|_| wanted).map(|dtype| Data::zeros(dtype, len));
        let extra = plan.extra.zip(plan.extra_len());
        Self {
            input: wanted.input.then(|| Data::zeros(plan.dtype, plan.view.elements())),
            weight: parameter(wanted.weight, plan.affine.weight),
            bias: parameter(wanted.bias, plan.affine.bias),
            extra: extra.map(|(dtype, len)| dtype.filter(|_| wanted.extra).map(|dtype| Data::zeros(dtype, len))),
        }
    }

    /// Checks that each that is there is one of the plan's, as long and of the type that the plan says. Those of what
    /// only some normalizations learn are there together or not at all.
    ///
    /// # Errors
    ///
    /// When one is of something that the plan has not, of another length or of another type.
    pub fn check(&self, plan: &Plan) -> Result<()> {
        self.wanted().check(plan)?;
        if let Some(input) = &self.input {
            check_tensor("grad_input", input, plan)?;
        }
        let len = plan.parameter_len();
        check_parameter(
            "grad_weight",
            self.weight.as_ref(),
            plan.affine.weight.filter(|_| self.weight.is_some()),
            len,
        )?;
        check_parameter("grad_bias", self.bias.as_ref(), plan.affine.bias.filter(|_| self.bias.is_some()), len)?;
        for (argument, (data, (dtype, len))) in self.extra.as_ref().zip(plan.extra.zip(plan.extra_len())).named() {
            check_parameter(argument, data.as_ref(), dtype.filter(|_| self.extra.any()), len)?;
        }
        Ok(())
    }

    /// What is asked for.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        Wanted {
            input: self.input.is_some(),
            weight: self.weight.is_some(),
            bias: self.bias.is_some(),
            extra: self.extra.any(),
        }
    }
}

impl GradientArguments<'_> {
    /// Checks that every tensor is there, and as long and of the type that `plan` says.
    ///
    /// # Errors
    ///
    /// When one is missing, not expected, of another length or of another type.
    pub fn check(&self, plan: &Plan) -> Result<()> {
        check_parameters(plan, self.weight, self.bias, self.extra)?;
        self.check_call(plan)
    }

    /// As [`check`](Self::check), where parameters are elsewhere.
    pub(crate) fn check_call(&self, plan: &Plan) -> Result<()> {
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
        check_labels(plan, self.labels)?;
        self.check_inflow(plan)?;
        self.statistics.check(plan)
    }

    /// Checks the gradients that flow into mean and deviation.
    fn check_inflow(&self, plan: &Plan) -> Result<()> {
        for (argument, gradient) in [("grad_mean", self.grad_mean), ("grad_std", self.grad_std)] {
            let Some(gradient) = gradient else { continue };
            if let Some(reason) = obstacle_to_inflow(plan, argument == "grad_mean") {
                return Err(Error::Unexpected { argument, reason });
            }
            check_dtype(argument, gradient.dtype(), plan.dtype)?;
            check_len(argument, gradient.len(), plan.view.statistics())?;
        }
        Ok(())
    }
}

/// Why no gradient can flow into the plan's means, or into its deviations.
pub(crate) fn obstacle_to_inflow(plan: &Plan, of_mean: bool) -> Option<&'static str> {
    match plan.source {
        Source::Input { .. } if plan.extra.eps_l.is_some() => Some("eps is learned"),
        Source::Input { .. } if of_mean && plan.statistic == Statistic::Uncentred => {
            Some("the plan takes no mean away")
        }
        Source::Input { .. } => None,
        Source::Mixed(_) => Some("the statistics are mixtures"),
        Source::Running { .. } | Source::Nothing => Some("the statistics do not follow the input"),
    }
}

impl Statistics {
    /// Checks that there is one of each for every statistic of the plan.
    ///
    /// # Errors
    ///
    /// When there are more or less.
    pub(crate) fn check(&self, plan: &Plan) -> Result<()> {
        if plan.view.elements() == 0 {
            return Ok(());
        }
        let sources = plan.source.mixing().map_or(0, |mixing| mixing.sources());
        for (len, expected) in [
            (self.mean.len(), plan.view.statistics()),
            (self.rstd.len(), plan.view.statistics()),
            (self.sources.mean.len(), sources),
            (self.sources.var.len(), sources),
        ] {
            check_len("statistics", len, expected)?;
        }
        Ok(())
    }
}
