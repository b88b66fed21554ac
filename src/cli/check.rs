//! `wgpu-norm check`: conformance cases on every adapter that is asked for.

use super::case::Case;
use super::{Failure, one_line, open, print, print_json, progress, visible};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use wgpu_norm::{Choice, Engine};

/// What `check` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Case files, and folders that are searched for them.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where to run: auto, all, cpu, reference, or part of an adapter's name.
    #[arg(long, default_value = "auto")]
    adapter: String,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// One line of the report.
struct Row {
    case: String,
    adapter: String,
    outcome: Result<f64, String>,
}

pub(super) fn check(arguments: &Arguments) -> Result<(), Failure> {
    let mut files = Vec::new();
    for path in &arguments.paths {
        collect(path, &mut HashSet::new(), &mut files)?;
    }
    if files.is_empty() {
        let paths: Vec<String> = arguments.paths.iter().map(|p| p.display().to_string()).collect();
        return Err(Failure::Unusable(format!("no case (*.safetensors) in {}", paths.join(", "))));
    }
    let choices = pollster::block_on(Choice::named(&arguments.adapter))?;
    let engines: Vec<Engine> = choices.iter().map(open).collect::<Result<_, _>>()?;

    let bar = progress::bar((files.len() * engines.len()) as u64);
    let mut rows = Vec::with_capacity(files.len() * engines.len());
    for file in &files {
        let case = Case::read(file);
        for engine in &engines {
            let outcome = case.as_ref().map_err(Clone::clone).and_then(|case| pollster::block_on(case.run(engine)));
            let outcome = outcome.map_err(|reason| one_line(&reason));
            let row = Row { case: visible(&name(file)), adapter: engine.name().to_owned(), outcome };
            if !arguments.json {
                bar.suspend(|| print(&row.line()));
            }
            rows.push(row);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();

    let failed = rows.iter().filter(|row| row.outcome.is_err()).count();
    let passed = rows.len() - failed;
    if arguments.json {
        let results: Vec<Value> = rows.iter().map(Row::json).collect();
        print_json(&json!({ "results": results, "passed": passed, "failed": failed, "skipped": 0 }));
    } else {
        print(&format!("{passed} passed, {failed} failed, 0 skipped"));
    }
    if failed > 0 { Err(Failure::Mismatch) } else { Ok(()) }
}

impl Row {
    fn line(&self) -> String {
        match &self.outcome {
            Ok(worst) => format!("pass {} {} {worst:.3}", self.case, self.adapter),
            Err(reason) => format!("FAIL {} {} {reason}", self.case, self.adapter),
        }
    }

    fn json(&self) -> Value {
        let mut row = json!({ "case": self.case, "adapter": self.adapter });
        match &self.outcome {
            Ok(worst) => {
                row["result"] = json!("pass");
                row["worst_error_over_tolerance"] = json!(worst);
            }
            Err(reason) => {
                row["result"] = json!("FAIL");
                row["reason"] = json!(reason);
            }
        }
        row
    }
}

/// The case's folder and stem: `layer_norm/last_1`.
fn name(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    match file.parent().and_then(Path::file_name) {
        Some(folder) => format!("{}/{stem}", folder.to_string_lossy()),
        None => stem.into_owned(),
    }
}

/// A file as it is, a folder's `.safetensors` files in order. A folder is searched once however many links lead to
/// it: links may run in circles.
fn collect(path: &Path, searched: &mut HashSet<PathBuf>, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let fault = |error: std::io::Error| Failure::Unusable(format!("{}: {error}", path.display()));
    if !std::fs::metadata(path).map_err(fault)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    if !searched.insert(path.canonicalize().map_err(fault)?) {
        return Ok(());
    }
    let entries = std::fs::read_dir(path).map_err(fault)?.collect::<Result<Vec<_>, _>>().map_err(fault)?;
    let mut entries: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            collect(&entry, searched, files)?;
        } else if entry.extension().is_some_and(|e| e == "safetensors") {
            files.push(entry);
        }
    }
    Ok(())
}
