//! The report that a person reads: one page that needs nothing beside itself.

mod canvas;
mod page;
mod plots;

use super::{Failure, Report};
use std::path::{Path, PathBuf};
use wgpu_norm::checkpoint;

/// A place that the page can go to, checked before anything is measured.
#[derive(Debug)]
pub(super) struct Target {
    path: PathBuf,
}

impl Target {
    /// Checks that a file of this name can be made, by making one beside it that goes away at once.
    pub(super) fn new(path: &Path) -> Result<Self, Failure> {
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
    pub(super) fn write(&self, report: &Report) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::Unusable(format!("report {error}"));
        let page = page::page(report).map_err(|error| failed(&format!("{}: {error}", self.path.display())))?;
        let write = |file: &mut dyn std::io::Write| file.write_all(page.as_bytes()).map_err(|error| error.to_string());
        checkpoint::replace(&self.path, write).map_err(|error| failed(&error))
    }
}
