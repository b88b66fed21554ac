//! `wgpu-norm check`: conformance cases on every adapter that is asked for.

use super::case::{Case, Found};
use super::certificate::{About, Adapter, Certificate, Figure, Joined, Outcome, Row};
use super::features::Disabled;
use super::page::Target;
use super::{Failure, one_line, open, print, print_json, progress, visible};
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
    #[command(flatten)]
    disabled: Disabled,
    /// Write a page of what was found: every operation on every adapter, and what each adapter is and does.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn check(arguments: &Arguments) -> Result<(), Failure> {
    let mut files = Vec::new();
    for path in &arguments.paths {
        collect(path, &mut HashSet::new(), &mut files)?;
    }
    // Beside others a file that is not there is one that fails.
    if let Some(first) = files.first().filter(|_| !files.iter().any(|file| file.exists())) {
        let reason = std::fs::metadata(first).err().map_or_else(String::new, |error| error.to_string());
        return Err(Failure::Unusable(format!("{}: {reason}", first.display())));
    }
    if files.is_empty() {
        let paths: Vec<String> = arguments.paths.iter().map(|p| p.display().to_string()).collect();
        return Err(Failure::Unusable(format!("no case (*.safetensors) in {}", paths.join(", "))));
    }
    let target = arguments.report.as_deref().map(Target::new).transpose()?;
    let places = places(&arguments.adapter, &arguments.disabled)?;
    let rows = rows(&files, &places, arguments.json);
    let failed = rows.iter().filter(|row| row.has_failed()).count();
    if !arguments.json {
        print(&format!("{} passed, {failed} failed, 0 skipped", rows.len() - failed));
    }
    if arguments.json || target.is_some() {
        let lacking = arguments.disabled.features();
        let adapter = |place: &Place| Adapter::of((&place.choice, lacking), &place.engine);
        let adapters = places.iter().map(adapter).collect();
        let certificate = Certificate::new(adapters, rows);
        if arguments.json {
            print_json(&certificate.json());
        }
        if let Some(target) = target {
            target.write(&Joined::one(&certificate).page())?;
        }
    }
    if failed > 0 { Err(Failure::Mismatch) } else { Ok(()) }
}

/// Where cases run.
struct Place {
    choice: Choice,
    engine: Engine,
}

fn places(adapter: &str, disabled: &Disabled) -> Result<Vec<Place>, Failure> {
    let choices = pollster::block_on(Choice::named(adapter))?;
    let place = |choice| {
        // What the CPU did instead would say nothing about the adapter.
        let engine = open(&choice, disabled)?.without_fallback();
        Ok(Place { choice, engine })
    };
    choices.into_iter().map(place).collect()
}

/// Runs every case on every place; where nobody wants JSON, says at once what came of it.
fn rows(files: &[PathBuf], places: &[Place], json: bool) -> Vec<Row> {
    let bar = progress::bar((files.len() * places.len()) as u64);
    let mut rows = Vec::with_capacity(files.len() * places.len());
    for file in files {
        let case = Case::read(file);
        for place in places {
            let row = row(visible(&name(file)), &case, place);
            if !json {
                bar.suspend(|| print(&row.line()));
            }
            rows.push(row);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    rows
}

fn row(name: String, case: &Result<Case, String>, place: &Place) -> Row {
    let mut found = Found::default();
    let result = match case {
        Ok(case) => pollster::block_on(case.run(&place.engine, &mut found)),
        Err(reason) => Err(reason.clone()),
    };
    let outcome = match result {
        Ok(worst) => Outcome::Pass { worst_error_over_tolerance: Figure::new(worst) },
        Err(reason) => Outcome::Fail {
            reason: one_line(&reason),
            worst_error_over_tolerance: found.worst_over_tolerance.map(Figure::new),
        },
    };
    let about = |case: &Case| About {
        op: Some(case.operation().to_owned()),
        pass: Some(if case.is_backward() { "backward" } else { "forward" }.to_owned()),
        dtype: case.dtype().map(|dtype| dtype.to_string()),
    };
    let (worst_ulp, median_ulp) = found.ulps.worst_and_median().unzip();
    Row {
        case: name,
        adapter: place.engine.name().to_owned(),
        about: case.as_ref().map(about).unwrap_or_default(),
        outcome,
        worst_ulp: worst_ulp.map(Figure::new),
        median_ulp: median_ulp.map(Figure::new),
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

/// A file as it is, be it there or not, a folder's `.safetensors` files in order. A folder is searched once however many links lead to
/// it: links may run in circles.
fn collect(path: &Path, searched: &mut HashSet<PathBuf>, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let fault = |error: std::io::Error| Failure::Unusable(format!("{}: {error}", path.display()));
    if !path.is_dir() {
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
