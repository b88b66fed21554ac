use super::{Extra, Own, Plan, Statistics};
use crate::error::{Error, Result};
use crate::tensor::{Data, Dtype};

/// Running estimates in host memory, by PyTorch's names without the prefix.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningStatistics {
    /// `running_mean`.
    pub mean: Vec<f32>,
    /// `running_var`.
    pub var: Vec<f32>,
    /// `num_batches_tracked`, where it is kept.
    pub num_batches_tracked: Option<u64>,
}

impl RunningStatistics {
    /// PyTorch's initial state for this many channels: zeros, ones, no batch seen.
    #[must_use]
    pub fn new(channels: usize) -> Self {
        Self { mean: vec![0.0; channels], var: vec![1.0; channels], num_batches_tracked: Some(0) }
    }
}

/// The tensors beside `input` and `output` that a plan is executed with, in host memory.
#[derive(Debug, Default)]
pub struct Arguments<'a> {
    /// The factor after the normalization.
    pub weight: Option<&'a Data>,
    /// The summand after the factor.
    pub bias: Option<&'a Data>,
    /// The running estimates, read in evaluation and updated in training.
    pub running: Option<&'a mut RunningStatistics>,
    /// What is added to the input first.
    pub residual: Option<&'a Data>,
    /// Where that sum goes, which is what is normalized.
    pub sum: Option<&'a mut Data>,
    /// Where what backward needs goes, if it is to be kept.
    pub statistics: Option<&'a mut Statistics>,
    /// What only some normalizations learn.
    pub extra: Extra<Option<&'a Data>>,
    /// The class of each sample, where there are tables with a row for each class.
    pub labels: Option<&'a [i64]>,
}

impl Arguments<'_> {
    /// Checks that every tensor is there, and as long and of the type that `plan` says.
    ///
    /// # Errors
    ///
    /// When one is missing, not expected, of another length or of another type.
    pub fn check(&self, plan: &Plan) -> Result<()> {
        check_parameters(plan, self.weight, self.bias, self.extra)?;
        check_labels(plan, self.labels)?;
        check_residual("residual", self.residual, plan)?;
        check_residual("sum", self.sum.as_deref(), plan)?;
        let Some(channels) = plan.running_len() else { return Ok(()) };
        let Some(running) = &self.running else {
            return Err(Error::Missing {
                argument: "running_mean",
                reason: "the plan reads or updates running estimates",
            });
        };
        for (argument, values) in [("running_mean", &running.mean), ("running_var", &running.var)] {
            check_len(argument, values.len(), channels)?;
        }
        if running.num_batches_tracked.is_none() && plan.running_update().is_some_and(|u| u.counter) {
            return Err(Error::Missing { argument: "num_batches_tracked", reason: "the plan counts batches" });
        }
        Ok(())
    }

    /// Takes down that there was a batch, though it was empty.
    pub(crate) fn count_empty_batch(&mut self, plan: &Plan) {
        if let (Some(update), Some(running)) = (plan.running_update(), &mut self.running) {
            update.count(running);
        }
    }
}

/// Checks the input's or output's values against the plan.
pub(crate) fn check_tensor(argument: &'static str, data: &Data, plan: &Plan) -> Result<()> {
    check_dtype(argument, data.dtype(), plan.dtype)?;
    check_len(argument, data.len(), plan.view.elements())
}

fn check_residual(argument: &'static str, data: Option<&Data>, plan: &Plan) -> Result<()> {
    match (data, plan.residual) {
        (None, false) => Ok(()),
        (None, true) => Err(Error::Missing { argument, reason: "the plan was lowered with a residual" }),
        (Some(_), false) => Err(Error::Unexpected { argument, reason: "the plan was lowered without a residual" }),
        (Some(data), true) => check_tensor(argument, data, plan),
    }
}

/// Checks everything that is learned.
pub(super) fn check_parameters(
    plan: &Plan,
    weight: Option<&Data>,
    bias: Option<&Data>,
    extra: Extra<Option<&Data>>,
) -> Result<()> {
    check_parameter("weight", weight, plan.affine.weight, plan.parameter_len())?;
    check_parameter("bias", bias, plan.affine.bias, plan.parameter_len())?;
    let wanted = plan.extra.zip(plan.extra_len());
    extra.zip(wanted).named().try_for_each(|(name, (data, (dtype, len)))| check_parameter(name, data, dtype, len))
}

impl Own {
    /// Checks that every parameter is there, as long as `plan` says, and that every label has a row.
    pub(crate) fn check(&self, plan: &Plan) -> Result<()> {
        let len = |values: &Option<Vec<f64>>| values.as_ref().map(Vec::len);
        let parameters = plan.parameter_len();
        check_presence("weight", len(&self.weight), plan.affine.weight, parameters)?;
        check_presence("bias", len(&self.bias), plan.affine.bias, parameters)?;
        for (name, (values, (dtype, expected))) in self.extra.as_ref().zip(plan.extra.zip(plan.extra_len())).named() {
            check_presence(name, len(values), dtype, expected)?;
        }
        let expects_labels = plan.labels().is_some() || !self.labels.is_empty();
        check_labels(plan, expects_labels.then_some(&self.labels))
    }
}

/// Checks that there is a label for each sample, and that each has a row in the tables.
pub(crate) fn check_labels(plan: &Plan, labels: Option<&[i64]>) -> Result<()> {
    let argument = "labels";
    let (labels, tables) = match (labels, plan.derivation.and_then(|d| d.tables)) {
        (None, None) => return Ok(()),
        (Some(_), None) => {
            return Err(Error::Unexpected { argument, reason: "the plan was lowered without tables of classes" });
        }
        (None, Some(_)) => return Err(Error::Missing { argument, reason: "the plan was lowered with labels" }),
        (Some(labels), Some(tables)) => (labels, tables),
    };
    check_len(argument, labels.len(), plan.labels().unwrap_or(0))?;
    let fits = |&label: &i64| usize::try_from(label).is_ok_and(|label| label < tables.classes);
    match labels.iter().position(|label| !fits(label)) {
        None => Ok(()),
        Some(sample) => Err(Error::Value {
            argument,
            got: format!("{} for sample {sample}", labels[sample]),
            expected: format!(
                "classes from 0 to {}, the rows of the tables less one",
                tables.classes.saturating_sub(1)
            ),
        }),
    }
}

/// Checks a parameter's presence, type and length.
pub(super) fn check_parameter(
    argument: &'static str,
    data: Option<&Data>,
    wanted: Option<Dtype>,
    len: usize,
) -> Result<()> {
    if let (Some(data), Some(dtype)) = (data, wanted) {
        check_dtype(argument, data.dtype(), dtype)?;
    }
    check_presence(argument, data.map(Data::len), wanted, len)
}

/// Checks that a parameter is there where one is wanted, and its length.
fn check_presence(argument: &'static str, got: Option<usize>, wanted: Option<Dtype>, len: usize) -> Result<()> {
    match (got, wanted) {
        (None, None) => Ok(()),
        (Some(_), None) => Err(Error::Unexpected { argument, reason: "the plan was lowered without it" }),
        (None, Some(_)) => Err(Error::Missing { argument, reason: "the plan was lowered with it" }),
        (Some(got), Some(_)) => check_len(argument, got, len),
    }
}

pub(super) fn check_dtype(argument: &'static str, got: Dtype, expected: Dtype) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(Error::Dtype { argument, got, expected: format!("{expected}, as the plan was lowered") })
}

/// Checks a number of values.
pub(crate) fn check_len(argument: &'static str, got: usize, expected: usize) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(Error::Length { argument, shape: vec![expected], expected, got })
}
