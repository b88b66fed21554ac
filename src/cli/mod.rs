//! The command line: what it takes, and which command does it.

mod adapters;
mod attributes;
mod bench;
mod case;
mod certificate;
mod check;
mod compare;
mod features;
mod head;
mod interrupt;
mod learned;
mod memory;
mod npy;
mod page;
mod place;
mod progress;
mod ranks;
mod report;
mod run;
mod safetensors_file;
mod stream;
mod words;
mod write;

use clap::{Parser, Subcommand};
use features::Disabled;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::sync::OnceLock;
use wgpu_norm::gpu::{Options, Strategy};
use wgpu_norm::{Choice, Engine};

/// Normalizes tensors on any GPU that wgpu reaches, or on the CPU.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List what can execute here: the reference, the CPU, and every adapter.
    Adapters(adapters::Arguments),
    /// Normalize the tensor in a file.
    Run(run::Arguments),
    /// Run conformance cases and compare with what they expect.
    Check(check::Arguments),
    /// Join what `check --json` found on several machines into one table.
    Report(report::Arguments),
    /// Time every workload on everything here, beside a plain copy.
    Bench(bench::Arguments),
}

/// The exit status of a program that Ctrl-C ended, as shells have it.
const INTERRUPTED: u8 = 130;

/// Why a command did not succeed.
#[derive(Debug)]
enum Failure {
    /// Something did not match; the command has said what.
    Mismatch,
    /// The input could not be used, and why.
    Unusable(String),
    /// A signal asked the program to end; nothing is left behind.
    Interrupted,
}

impl From<wgpu_norm::Error> for Failure {
    fn from(error: wgpu_norm::Error) -> Self {
        Self::Unusable(error.to_string())
    }
}

/// Parses the arguments, runs the command and reports: 0 all good, 1 something did not match, 2 the
/// input could not be used, or the report not be written.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return say_usage(&usage),
    };
    let (result, json) = match &cli.command {
        Command::Adapters(arguments) => (adapters::adapters(arguments), arguments.json),
        Command::Run(arguments) => (run::run(arguments), arguments.json),
        Command::Check(arguments) => (check::check(arguments), arguments.json),
        Command::Report(arguments) => (report::report(arguments), arguments.json),
        Command::Bench(arguments) => (bench::bench(arguments), arguments.json),
    };
    let result = match result {
        Ok(()) | Err(Failure::Mismatch) => all_is_said().and(result),
        failed => failed,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Mismatch) => ExitCode::from(1),
        Err(Failure::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(Failure::Unusable(message)) => {
            let message = one_line(&message);
            say_error(&format!("error: {message}"));
            if json {
                print_json_error(&message);
            }
            ExitCode::from(2)
        }
    }
}

/// Says what is wrong with the arguments, or the help that was asked for.
fn say_usage(usage: &clap::Error) -> ExitCode {
    let _ = usage.print();
    if usage.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let rendered = usage.render().to_string();
        let message = one_line(rendered.split("\n\n").next().unwrap_or(&rendered));
        print_json_error(message.trim_start_matches("error: "));
    }
    u8::try_from(usage.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn print_json_error(message: &str) {
    print_json(&serde_json::json!({ "error": message }));
}

/// Why a line could not be printed, the first of them.
static UNSAID: OnceLock<std::io::Error> = OnceLock::new();

/// Prints a line. A reader that has gone away (`| head`) is no error; another one makes the command fail at its end.
fn print(line: &str) {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => drop(UNSAID.set(error)),
        _ => {}
    }
}

/// Whether all lines could be printed.
fn all_is_said() -> Result<(), Failure> {
    UNSAID.get().map_or(Ok(()), |error| Err(Failure::Unusable(format!("standard output: {error}"))))
}

fn print_json(value: &serde_json::Value) {
    print(&format!("{value:#}"));
}

/// A message on one line. Names in hostile files and drivers' words may hold line breaks and escapes, and a
/// reader of the report takes each line for what the program says.
fn one_line(message: &str) -> String {
    visible(message).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Text without anything that moves the cursor or breaks a line.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || "\u{2028}\u{2029}".contains(c) { ' ' } else { c }).collect()
}

/// Prints a line beside the output proper.
fn say_error(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Prepare's options, as the environment forces them.
fn engine_options() -> Result<Options, Failure> {
    match std::env::var("WGPU_NORM_STRATEGY") {
        Ok(name) if !name.is_empty() => Ok(Options::default().strategy(name.parse::<Strategy>()?)),
        _ => Ok(Options::default()),
    }
}

fn open(choice: &Choice, disabled: &Disabled) -> Result<Engine, Failure> {
    Ok(pollster::block_on(Engine::open_without(choice, disabled.features()))?.options(engine_options()?))
}
