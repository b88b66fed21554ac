//! How fast wgpu-norm is beside other libraries, on the same inputs. See the README.

#[expect(dead_code, reason = "there is no copy to compare with here")]
#[path = "../../../src/cli/bench/host.rs"]
mod host;

#[cfg_attr(not(test), expect(dead_code, reason = "no table here has a place for the spread"))]
#[path = "../../../src/cli/bench/clock.rs"]
mod clock;
mod contest;
mod device;
mod memory;
mod peers;
mod place;
mod report;
#[expect(dead_code, reason = "peers have no running estimates or mixtures to compare")]
#[path = "../../../src/cli/bench/sets.rs"]
mod sets;
mod stopwatch;
mod task;
#[path = "../../../src/cli/bench/workloads.rs"]
mod workloads;

use clap::Parser;
use peers::Column;
use peers::python::Script;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use workloads::{WORKLOADS, Workload};

/// Times wgpu-norm and other libraries on the same inputs, and tells how many times as fast it is.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The workloads whose names begin like this; all where none is given.
    #[arg(value_name = "WORKLOAD")]
    workloads: Vec<String>,
    /// The pass: forward, backward, or both.
    #[arg(long, default_value = "both", value_parser = ["forward", "backward", "both"])]
    pass: String,
    /// Where to run: cpu, part of an adapter's name, or all.
    #[arg(long, default_value = "all")]
    adapter: String,
    /// The libraries to compare with; all where none is given.
    #[arg(long, value_delimiter = ',', value_name = "LIBRARY", value_parser = known_library)]
    against: Vec<Column>,
    /// The threads of everything that runs on the CPU; by default as many as there are cores.
    #[arg(long)]
    threads: Option<NonZero<usize>>,
    /// The Python that has PyTorch and ONNX Runtime.
    #[arg(long, env = "PYTHON", default_value = "python3", value_name = "PATH")]
    python: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    memory::ask_for_large_pages();
    let threads = threads(arguments.threads);
    match run(&arguments, threads) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

/// Settles how many threads each library takes.
fn threads(wanted: Option<NonZero<usize>>) -> usize {
    let here = || std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = wanted.map_or_else(here, NonZero::get);
    // SAFETY: main has started no thread yet, so none reads the environment.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", threads.to_string()) };
    threads
}

/// Whether all results of ours were right.
fn run(arguments: &Arguments, threads: usize) -> Result<bool, String> {
    let workloads = chosen(&arguments.workloads)?;
    let passes: &[bool] = match arguments.pass.as_str() {
        "forward" => &[false],
        "backward" => &[true],
        _ => &[false, true],
    };
    let mut places = place::open(&arguments.adapter, Script::start(&arguments.python, threads))?;
    places.iter_mut().for_each(|place| place.keep(&arguments.against));
    let rows = contest::rows(&workloads, passes, &mut places, |row| {
        if !arguments.json {
            report::print_row(row);
        }
    })?;
    if arguments.json {
        report::print_json(&rows, threads);
    } else {
        report::print_means(&rows);
    }
    Ok(rows.iter().all(|row| row.ours().is_some()))
}

fn known_library(name: &str) -> Result<Column, String> {
    let found = Column::PEERS.into_iter().find(|column| column.name() == name);
    found.ok_or_else(|| format!("expected one of {}", Column::PEERS.map(Column::name).join(", ")))
}

/// The workloads whose names begin so.
fn chosen(names: &[String]) -> Result<Vec<&'static Workload>, String> {
    if let Some(name) = names.iter().find(|name| !WORKLOADS.iter().any(|workload| workload.name.starts_with(&***name)))
    {
        let known = WORKLOADS.iter().map(|workload| workload.name).collect::<Vec<_>>().join(", ");
        return Err(format!("workload: expected the beginning of one of {known}, got {name:?}"));
    }
    let wanted = |workload: &&Workload| names.is_empty() || names.iter().any(|name| workload.name.starts_with(&**name));
    Ok(WORKLOADS.iter().filter(wanted).collect())
}
