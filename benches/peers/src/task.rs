//! What is to be computed: a pass of a workload, in words that every library understands.

use crate::host;
use crate::workloads::{Problem, Workload};
use wgpu_norm::norm::{Norm, Operands, RmsNorm};
use wgpu_norm::{Data, Dtype, Engine, Spec};

/// The largest error, as a share of the largest expected value, of a result that still counts. It is loose, because
/// it asks whether a library computed the same thing and not how well.
pub(crate) const TOLERANCE: f64 = 1e-2;

/// The normalization of a workload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Operation {
    LayerNorm,
    /// Over axis 1, the channels, at each position.
    LayerNormOfChannels,
    RmsNorm,
    GroupNorm {
        groups: usize,
    },
    InstanceNorm,
    BatchNorm {
        training: bool,
    },
    /// In training, with the channels as the last axis.
    BatchNormChannelsLast,
    PositionalNorm,
    SwitchableNorm,
}

/// A pass of a workload, with its inputs and what is right.
pub(crate) struct Task {
    pub(crate) name: &'static str,
    pub(crate) backward: bool,
    pub(crate) shape: &'static [usize],
    pub(crate) operation: Operation,
    pub(crate) problem: Problem,
    /// The output, or the gradients of input, weight and bias, by the f64 reference.
    want: Vec<Data>,
}

impl Task {
    pub(crate) fn new(workload: &Workload, backward: bool, reference: &Engine) -> Result<Self, String> {
        let text = |error: wgpu_norm::Error| format!("{}: {error}", workload.name);
        let mut problem = workload.problem(Dtype::F32).map_err(text)?;
        let operation = operation(workload, &problem)?;
        if operation == Operation::RmsNorm {
            problem = without_bias(workload, problem).map_err(text)?;
        }
        let want = host::results(reference, &problem, backward).map_err(text)?.tensors;
        Ok(Self { name: workload.name, backward, shape: workload.shape, operation, problem, want })
    }

    pub(crate) fn pass(&self) -> &'static str {
        if self.backward { "backward" } else { "forward" }
    }

    pub(crate) fn eps(&self) -> f64 {
        self.problem.plan.eps()
    }

    /// The largest error of what a library computed, as a share of the largest expected value of that tensor.
    pub(crate) fn error(&self, results: &[Data]) -> f64 {
        if results.len() != self.want.len() {
            return f64::INFINITY;
        }
        results.iter().zip(&self.want).map(|(got, want)| error(got, want)).fold(0.0, f64::max)
    }
}

/// The table knows its norms as objects, of which the name is what can be told apart.
fn operation(workload: &Workload, problem: &Problem) -> Result<Operation, String> {
    Ok(match workload.name {
        "ln_channels" => Operation::LayerNormOfChannels,
        "bn_nhwc" => Operation::BatchNormChannelsLast,
        "bn_resnet_eval" => Operation::BatchNorm { training: false },
        "pono" => Operation::PositionalNorm,
        "sn" => Operation::SwitchableNorm,
        name if name.starts_with("ln_") => Operation::LayerNorm,
        name if name.starts_with("rms_") => Operation::RmsNorm,
        name if name.starts_with("gn_") => {
            Operation::GroupNorm { groups: problem.plan.view().statistics() / workload.shape[0] }
        }
        name if name.starts_with("in_") => Operation::InstanceNorm,
        name if name.starts_with("bn_") => Operation::BatchNorm { training: true },
        name => return Err(format!("{name}: it is not known what the other libraries call this")),
    })
}

/// No other library's RMS normalization has a bias, so ours is to have none either.
fn without_bias(workload: &Workload, problem: Problem) -> wgpu_norm::Result<Problem> {
    let axes = &workload.shape[1..];
    let operands = Operands::new(Spec::new(workload.shape, Dtype::F32)).weight(Spec::new(axes, Dtype::F32));
    Ok(Problem { plan: RmsNorm::new(axes).lower(&operands)?, bias: None, ..problem })
}

fn error(got: &Data, want: &Data) -> f64 {
    let (got, want) = (got.to_f64(), want.to_f64());
    if got.len() != want.len() || got.iter().any(|value| !value.is_finite()) {
        return f64::INFINITY;
    }
    let largest = want.iter().fold(f64::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
    let worst = got.iter().zip(&want).fold(0.0, |worst, (got, want)| (got - want).abs().max(worst));
    worst / largest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::WORKLOADS;

    #[test]
    fn every_workload_is_known() {
        for workload in &WORKLOADS {
            let problem = workload.problem(Dtype::F32).expect("the table is sound");
            assert!(operation(workload, &problem).is_ok(), "{}", workload.name);
        }
    }

    #[test]
    fn errors_are_shares_of_the_largest_value() {
        let data = |values: &[f64]| Data::from_f64(Dtype::F32, values);
        assert!((error(&data(&[1.0, 4.0]), &data(&[2.0, 4.0])) - 0.25).abs() < 1e-9);
        assert_eq!(error(&data(&[1.0]), &data(&[1.0, 2.0])), f64::INFINITY);
        assert_eq!(error(&data(&[f64::NAN]), &data(&[1.0])), f64::INFINITY);
    }
}
