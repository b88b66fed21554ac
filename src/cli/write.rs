//! Output files: whole, or not there at all.

use super::{npy, safetensors_file};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use wgpu_norm::{Dtype, RunningStatistics, Tensor};

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

    /// Whether updated running estimates fit in.
    pub(super) fn holds_running(&self) -> bool {
        self.format == Format::Safetensors
    }

    /// The folder that it goes to.
    fn folder(&self) -> &Path {
        self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Writes under a temporary name beside the target and renames, so that the target is never half there.
    pub(super) fn write(&self, output: &Tensor, running: Option<&RunningStatistics>) -> Result<(), String> {
        let fault = |error: &dyn std::fmt::Display| format!("output {}: {error}", self.path.display());
        let mut builder = tempfile::Builder::new();
        readable_by_others(builder.prefix(".wgpu-norm-"));
        let mut file = builder.tempfile_in(self.folder()).map_err(|e| fault(&e))?;
        let mut writer = BufWriter::new(file.as_file_mut());
        match self.format {
            Format::Npy => npy::write(output, &mut writer).map_err(|e| fault(&e))?,
            Format::Safetensors => write_safetensors(output, running, &mut writer).map_err(|e| fault(&e))?,
        }
        writer.flush().map_err(|e| fault(&e))?;
        drop(writer);
        file.persist(&self.path).map_err(|e| fault(&e.error))?;
        Ok(())
    }
}

/// Temporary files are private; a result is as readable as the user's mask lets any other file be.
fn readable_by_others(builder: &mut tempfile::Builder<'_, '_>) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    #[cfg(not(unix))]
    let _ = builder;
}

fn write_safetensors(
    output: &Tensor,
    running: Option<&RunningStatistics>,
    writer: &mut dyn Write,
) -> Result<(), String> {
    let vector = |values: &[f32]| Tensor::from_f32([values.len()], values.to_vec()).map_err(|e| e.to_string());
    let estimates = running.map(|r| Ok::<_, String>((vector(&r.mean)?, vector(&r.var)?))).transpose()?;
    let counter = running.and_then(|r| r.num_batches_tracked).map(u64::to_le_bytes);
    let mut tensors = vec![("output", safetensors_file::view_of(output)?)];
    if let Some((mean, var)) = &estimates {
        tensors.push(("running_mean", safetensors_file::view_of(mean)?));
        tensors.push(("running_var", safetensors_file::view_of(var)?));
    }
    if let Some(counter) = &counter {
        tensors.push(("num_batches_tracked", safetensors_file::view_of_integer(counter)?));
    }
    let bytes = safetensors::serialize(tensors, None).map_err(|e| e.to_string())?;
    writer.write_all(&bytes).map_err(|e| e.to_string())
}
