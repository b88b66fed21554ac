//! Output files: whole, or not there at all.

use super::npy;
use std::path::{Path, PathBuf};
use wgpu_norm::checkpoint;
use wgpu_norm::layer::{Entry, StateDict};
use wgpu_norm::{Dtype, RunningStatistics, Tensor};

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
    fn folder(&self) -> &Path {
        self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Writes all of it, or nothing.
    pub(super) fn write(&self, results: &Results<'_>) -> Result<(), String> {
        let written = match self.format {
            Format::Npy => checkpoint::replace(&self.path, |file| npy::write(results.output, file)),
            Format::Safetensors => checkpoint::save(&self.path, &results.named()?),
        };
        written.map_err(|error| format!("output {error}"))
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
