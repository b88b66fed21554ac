use super::bytes::to_bytes;
use super::reader::fault;
use crate::error::Result;
use crate::layer::StateDict;
use std::fs::{File, Metadata};
use std::io::{BufWriter, Write};
use std::path::Path;

/// Writes a state dict, one layer's or a whole model's, as PyTorch users load it: tensors in their storage type,
/// `num_batches_tracked` as a single I64.
///
/// The file is written under a temporary name beside `path` and renamed, so that it is never half there.
///
/// ```
/// use wgpu_norm::checkpoint;
/// use wgpu_norm::Engine;
/// use wgpu_norm::layer::{Layer, LayerNorm};
///
/// let norm = Layer::new(&Engine::new()?, LayerNorm::new([8]))?;
/// let folder = tempfile::tempdir().expect("a folder");
/// checkpoint::save(folder.path().join("norm.safetensors"), &norm.state_dict("")?)?;
/// assert!(checkpoint::save(folder.path().join("nowhere/norm.safetensors"), &norm.state_dict("")?).is_err());
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
///
/// # Errors
///
/// When the file cannot be written, or a counter is beyond an I64; what was at `path` is then still there.
pub fn save(path: impl AsRef<Path>, state: &StateDict) -> Result<()> {
    let path = path.as_ref();
    let bytes = to_bytes(state).map_err(|error| fault(path, &error))?;
    replace(path, |file| file.write_all(&bytes).map_err(|error| error.to_string()))
}

/// Writes a file under a temporary name beside `path` and renames it, so that it is never half there. What a link leads to
/// is replaced, not the link; a file that was there keeps its permissions.
///
/// # Errors
///
/// When it cannot be written, or what is there is no file; what was at `path` is then still there.
pub fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> std::result::Result<(), String>) -> Result<()> {
    replace_if(path, write, || Ok(()))
}

/// As [`replace`], unless the file may not appear after all, which is asked at the end.
///
/// # Errors
///
/// As [`replace`], and what `may_appear` says.
pub fn replace_if(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::result::Result<(), String>,
    may_appear: impl FnOnce() -> std::result::Result<(), String>,
) -> Result<()> {
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let before = std::fs::metadata(&target).ok();
    if before.as_ref().is_some_and(|before| !before.is_file()) || before.is_none() && target.is_symlink() {
        return Err(fault(path, &"expected a file, or a name that is free"));
    }
    let folder = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    readable_by_others(builder.prefix(".wgpu-norm-"));
    let mut file = builder.tempfile_in(folder).map_err(|error| fault(path, &error))?;
    if let Some(before) = before {
        keep_permissions(file.as_file(), &before).map_err(|error| fault(path, &error))?;
    }
    let mut writer = BufWriter::new(file.as_file_mut());
    write(&mut writer).map_err(|message| fault(path, &message))?;
    writer.flush().map_err(|error| fault(path, &error))?;
    drop(writer);
    // A rename that outlives the bytes would leave an empty file after a power cut.
    file.as_file().sync_all().map_err(|error| fault(path, &error))?;
    may_appear().map_err(|message| fault(path, &message))?;
    file.persist(&target).map_err(|error| fault(path, &error.error))?;
    Ok(())
}

/// Where they are the same already nothing is asked of a file system that may not let its users set them.
fn keep_permissions(file: &File, before: &Metadata) -> std::io::Result<()> {
    let permissions = before.permissions();
    if file.metadata()?.permissions() == permissions { Ok(()) } else { file.set_permissions(permissions) }
}

/// Temporary files are private; a checkpoint is as readable as the user's mask lets any other file be.
fn readable_by_others(builder: &mut tempfile::Builder<'_, '_>) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    #[cfg(not(unix))]
    let _ = builder;
}
