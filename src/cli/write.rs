//! Output files: whole, or not there at all.

use super::Failure;
use super::interrupt::{INTERRUPTED, Interrupt};
use super::npy;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use wgpu_norm::checkpoint;
use wgpu_norm::layer::{Entry, StateDict};
use wgpu_norm::{Dtype, RunningStatistics, Spec, Tensor};

/// What a run gives.
pub(super) struct Results<'a> {
    pub(super) output: &'a Tensor,
    /// The running estimates, where they were updated.
    pub(super) running: Option<&'a RunningStatistics>,
    /// Mean and deviation, where they are outputs.
    pub(super) moments: Option<&'a (Tensor, Tensor)>,
}

/// What an output file can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Npy,
    Safetensors,
}

/// A place that output can go to, checked before anything is computed.
#[derive(Debug)]
pub(super) struct Target {
    path: PathBuf,
    format: Format,
}

impl Target {
    /// Checks that the path ends in a format that holds values of this type, and names no folder.
    pub(super) fn new(path: &Path, dtype: Dtype) -> Result<Self, String> {
        let format = match path.extension().and_then(|e| e.to_str()) {
            Some("npy") => Format::Npy,
            Some("safetensors") => Format::Safetensors,
            _ => {
                return Err(format!(
                    "output: expected a name that ends in .npy or .safetensors, got {}",
                    path.display()
                ));
            }
        };
        if format == Format::Npy && dtype == Dtype::Bf16 {
            return Err(format!("output: a .npy file holds no bf16, expected .safetensors, got {}", path.display()));
        }
        if path.is_dir() {
            return Err(format!("output: expected a file, got the folder {}", path.display()));
        }
        if path.exists() && !path.is_file() {
            return Err(format!("output: expected a file or a name that is free, got {}", path.display()));
        }
        let target = Self { path: path.to_owned(), format };
        if target.folder().is_dir() {
            return Ok(target);
        }
        Err(format!("output {}: there is no folder {}", path.display(), target.folder().display()))
    }

    /// Whether more than the output fits in.
    pub(super) fn holds_more(&self) -> bool {
        self.format == Format::Safetensors
    }

    /// The folder that it goes to.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Writes what `write` writes, or nothing; nothing either once the program is asked to end.
    pub(super) fn replace(
        &self,
        interrupt: &Interrupt,
        write: impl FnOnce(&mut dyn Write) -> Result<(), String>,
    ) -> Result<(), Failure> {
        let guarded = |file: &mut dyn Write| write(&mut interrupt.guarding(file));
        let written = checkpoint::replace_if(&self.path, guarded, || interrupt.check().map_err(|_| INTERRUPTED.into()));
        written.or_else(|error| {
            interrupt.check()?;
            Err(Failure::Unusable(format!("output {error}")))
        })
    }

    /// What stands before the values of the output, where these come by themselves: the running estimates too, where
    /// they were updated and have a place. After the values come those of the means and of the deviations, of type and
    /// shape `moments` each.
    pub(super) fn head(
        &self,
        output: &Spec,
        running: Option<&RunningStatistics>,
        moments: Option<&Spec>,
    ) -> Result<Vec<u8>, String> {
        match self.format {
            Format::Npy => npy::header(output),
            Format::Safetensors => safetensors_head(output, running, moments),
        }
    }

    /// Writes all of it, or nothing.
    pub(super) fn write(&self, results: &Results<'_>, interrupt: &Interrupt) -> Result<(), Failure> {
        match self.format {
            Format::Npy => self.replace(interrupt, |file| npy::write(results.output, file)),
            Format::Safetensors => {
                let bytes = results.named().and_then(|named| checkpoint::to_bytes(&named).map_err(|e| e.to_string()));
                let bytes = bytes.map_err(|error| Failure::Unusable(format!("output: {error}")))?;
                self.replace(interrupt, |file| file.write_all(&bytes).map_err(|error| error.to_string()))
            }
        }
    }
}

impl Results<'_> {
    /// Everything by its name in a file.
    fn named(&self) -> Result<StateDict, String> {
        let mut named = StateDict::from([("output".to_owned(), Entry::from(self.output.clone()))]);
        let mut add = |name: &str, entry| named.insert(name.to_owned(), entry);
        if let Some(running) = self.running {
            for (name, values) in [("running_mean", &running.mean), ("running_var", &running.var)] {
                let estimate = Tensor::from_f32([values.len()], values.clone()).map_err(|error| error.to_string())?;
                add(name, Entry::from(estimate));
            }
            running.num_batches_tracked.map(|counter| add("num_batches_tracked", Entry::Counter(counter)));
        }
        if let Some((mean, std)) = self.moments {
            add("mean", Entry::from(mean.clone()));
            add("std", Entry::from(std.clone()));
        }
        Ok(named)
    }
}

/// The head of a `.safetensors` file up to the values of the output.
fn safetensors_head(
    output: &Spec,
    running: Option<&RunningStatistics>,
    moments: Option<&Spec>,
) -> Result<Vec<u8>, String> {
    let mut header = json!({ "__metadata__": { "format": "pt" } });
    let mut end = 0;
    let mut add = |name: &str, dtype: &str, shape: &[usize], size: usize| {
        let start = end;
        end += shape.iter().product::<usize>() * size;
        header[name] = json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] });
    };
    let stored = |dtype: Dtype| dtype.to_string().to_uppercase();
    let mut values = Vec::new();
    if let Some(RunningStatistics { mean, var, num_batches_tracked }) = running {
        // The widest type first, so that all lie where their type wants them.
        if let Some(counter) = num_batches_tracked {
            add("num_batches_tracked", "I64", &[], size_of::<u64>());
            let counter =
                i64::try_from(*counter).map_err(|_| format!("num_batches_tracked: {counter} is beyond an I64"))?;
            values.extend(counter.to_le_bytes());
        }
        for (name, estimate) in [("running_mean", mean), ("running_var", var)] {
            add(name, "F32", &[estimate.len()], size_of::<f32>());
            values.extend(estimate.iter().flat_map(|x| x.to_le_bytes()));
        }
    }
    let tensors = [("output", Some(output)), ("mean", moments), ("std", moments)];
    for (name, spec) in tensors.into_iter().filter_map(|(name, spec)| Some((name, spec?))) {
        add(name, &stored(spec.dtype), &spec.shape, spec.dtype.size());
    }
    let mut text = header.to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    Ok([&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &values].concat())
}
