//! What an operation takes beside its input, read from a file by PyTorch's names.

use super::attributes::Attributes;
use super::safetensors_file::TensorFile;
use wgpu_norm::plan::Extra;
use wgpu_norm::{Parameters, RunningStatistics, Tensor};

/// PyTorch's names for what a layer keeps beside what it learns, and for what comes with a call.
pub(super) const STATE: [&str; 4] = ["running_mean", "running_var", "num_batches_tracked", "labels"];

/// Parameters, running estimates and labels.
#[derive(Default)]
pub(super) struct Learned {
    pub(super) weight: Option<Tensor>,
    pub(super) bias: Option<Tensor>,
    pub(super) extra: Extra<Option<Tensor>>,
    pub(super) labels: Option<Vec<i64>>,
    pub(super) running: Option<RunningStatistics>,
}

impl Learned {
    /// Reads what lies under a prefix.
    pub(super) fn read(file: &TensorFile, prefix: &str, attributes: &Attributes) -> Result<Self, String> {
        let named = |name: &str| file.tensor(&format!("{prefix}{name}"));
        let [weight, bias] = attributes.parameter_names();
        let mut extra = Extra::default();
        for (name, tensor) in extra.as_mut().named() {
            *tensor = named(name)?;
        }
        Ok(Self {
            weight: named(weight)?,
            bias: named(bias)?,
            extra,
            labels: file.integers(&format!("{prefix}labels"))?,
            running: if attributes.tracks()? { file.running(prefix)? } else { None },
        })
    }

    /// The parameters of a call that updates no running estimates but `running`.
    pub(super) fn with<'a>(&'a self, running: Option<&'a mut RunningStatistics>) -> Parameters<'a> {
        Parameters {
            weight: self.weight.as_ref(),
            bias: self.bias.as_ref(),
            running,
            extra: self.extra.as_ref().map(Option::as_ref),
            labels: self.labels.as_deref(),
            ..Parameters::default()
        }
    }
}
