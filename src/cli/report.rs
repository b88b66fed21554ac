//! `wgpu-norm report`: what `check` found on any number of machines, as one table.

use super::certificate::{Certificate, Joined};
use super::page::Target;
use super::{Failure, print, print_json};
use std::path::PathBuf;

/// What `report` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What `check --json` printed, here or on other machines.
    #[arg(required = true, value_name = "FILE.json")]
    files: Vec<PathBuf>,
    /// Write the tables as a page.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Print the tables as Markdown.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn report(arguments: &Arguments) -> Result<(), Failure> {
    let target = arguments.report.as_deref().map(Target::new).transpose()?;
    let mut files = Vec::new();
    for file in &arguments.files {
        files.push((file.display().to_string(), Certificate::read(file).map_err(Failure::Unusable)?));
    }
    let joined = Joined::all(&files).map_err(Failure::Unusable)?;
    if arguments.json {
        print_json(&joined.json());
    } else {
        let text = if arguments.markdown { joined.markdown() } else { joined.text() };
        print(text.trim_end());
    }
    if let Some(target) = target {
        target.write(&joined.page())?;
    }
    if joined.failed() > 0 { Err(Failure::Mismatch) } else { Ok(()) }
}
