//! Where a page goes.

use crate::cli::Failure;
use std::path::{Path, PathBuf};
use wgpu_norm::checkpoint;

/// A place that the page can go to, checked before anything is computed.
#[derive(Debug)]
pub(in crate::cli) struct Target {
    path: PathBuf,
}

impl Target {
    /// Checks that a file of this name can be made, by making one beside it that goes away at once.
    pub(in crate::cli) fn new(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("html")) {
            return Err(Failure::Unusable(format!("report: expected a name that ends in .html, got {shown}")));
        }
        if path.is_dir() {
            return Err(Failure::Unusable(format!("report: expected a file, got the folder {shown}")));
        }
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let refused = |error| Failure::Unusable(format!("report {shown}: expected a folder to write to: {error}"));
        tempfile::Builder::new().prefix(".wgpu-norm-").tempfile_in(folder).map_err(refused)?;
        Ok(Self { path: path.to_owned() })
    }

    /// Writes all of the page, or nothing.
    pub(in crate::cli) fn write(&self, page: &str) -> Result<(), Failure> {
        let write = |file: &mut dyn std::io::Write| file.write_all(page.as_bytes()).map_err(|error| error.to_string());
        checkpoint::replace(&self.path, write).map_err(|error| Failure::Unusable(format!("report {error}")))
    }
}
