//! `wgpu-norm bench`: how fast every workload is on everything here, and how close that comes to a plain copy.

mod clock;
mod comparison;
mod device;
mod host;
mod workloads;

use super::compare::Errors;
use super::{Failure, engine_options, one_line, open, print, print_json, progress};
use clock::Time;
use comparison::Earlier;
use device::Device;
use serde_json::{Value, json};
use std::path::PathBuf;
use wgpu_norm::{Choice, Data, Dtype, Engine};
use workloads::{Problem, WORKLOADS, Workload};

/// What `bench` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where to run: auto, all, cpu, or part of an adapter's name. The CPU is measured beside any adapter.
    #[arg(long, default_value = "all")]
    adapter: String,
    /// The workloads whose names begin like this; all where none is given.
    #[arg(value_name = "WORKLOAD")]
    workloads: Vec<String>,
    /// The storage types.
    #[arg(long, value_delimiter = ',', default_value = "f32")]
    dtype: Vec<String>,
    /// The pass: forward, backward, or both.
    #[arg(long, default_value = "both", value_parser = ["forward", "backward", "both"])]
    pass: String,
    /// Tell what moved since an earlier report, which `--json` printed.
    #[arg(long, value_name = "OLD.json")]
    compare: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// What is measured on.
enum Place {
    Host(Engine),
    Device { name: String, device: Box<Device> },
}

/// A workload on an adapter.
struct Row {
    workload: &'static str,
    dtype: Dtype,
    backward: bool,
    adapter: String,
    outcome: Result<Figures, String>,
}

struct Figures {
    time: Time,
    /// Bytes that the pass reads and writes of its tensors.
    bytes: u64,
    /// The time of a copy that reads and writes as many.
    copy: f64,
    strategy: &'static str,
    errors: Errors,
}

impl Figures {
    #[expect(clippy::cast_precision_loss, reason = "no tensor has 2^53 bytes")]
    fn gigabytes_a_second(&self) -> f64 {
        self.bytes as f64 / self.time.median / 1e9
    }
}

pub(super) fn bench(arguments: &Arguments) -> Result<(), Failure> {
    let workloads = chosen(&arguments.workloads)?;
    let dtypes = arguments.dtype.iter().map(|name| dtype(name)).collect::<Result<Vec<_>, _>>()?;
    let earlier = arguments.compare.as_deref().map(Earlier::read).transpose().map_err(Failure::Unusable)?;
    let places = places(&arguments.adapter)?;
    let passes: &[bool] = match arguments.pass.as_str() {
        "forward" => &[false],
        "backward" => &[true],
        _ => &[false, true],
    };
    let reference = open(&Choice::Reference)?;
    let total = workloads.len() * dtypes.len() * passes.len() * places.len();
    let bar = progress::bar(total as u64);
    let mut rows = Vec::with_capacity(total);
    if !arguments.json {
        print(&Row::header());
    }
    for workload in &workloads {
        for &dtype in &dtypes {
            let problem = workload.problem(dtype)?;
            for &backward in passes {
                let want = host::results(&reference, &problem, backward)?;
                for place in &places {
                    let outcome = measured(place, &problem, backward, &want).map_err(|error| one_line(&error));
                    let row = Row { workload: workload.name, dtype, backward, adapter: place.name().into(), outcome };
                    if !arguments.json {
                        bar.suspend(|| print(&row.line()));
                    }
                    rows.push(row);
                    bar.inc(1);
                }
            }
        }
    }
    bar.finish_and_clear();
    if arguments.json {
        let results = rows.iter().map(|row| row.json_since(earlier.as_ref())).collect::<Vec<_>>();
        print_json(&json!({ "results": results }));
    } else {
        against_the_cpu(&rows);
        if let Some(earlier) = &earlier {
            print("");
            rows.iter().for_each(|row| print(&format!("{} {}", row.start(), earlier.change(&row.json()))));
        }
    }
    if rows.iter().any(|row| row.outcome.is_err()) { Err(Failure::Mismatch) } else { Ok(()) }
}

/// The workloads whose names begin so.
fn chosen(names: &[String]) -> Result<Vec<&'static Workload>, Failure> {
    let known = || WORKLOADS.iter().map(|workload| workload.name).collect::<Vec<_>>().join(", ");
    if let Some(name) = names.iter().find(|name| !WORKLOADS.iter().any(|workload| workload.name.starts_with(&***name)))
    {
        return Err(Failure::Unusable(format!("workload: expected the beginning of one of {}, got {name:?}", known())));
    }
    let wanted = |workload: &&Workload| names.is_empty() || names.iter().any(|name| workload.name.starts_with(&**name));
    Ok(WORKLOADS.iter().filter(wanted).collect())
}

fn dtype(name: &str) -> Result<Dtype, Failure> {
    let found = Dtype::ALL.into_iter().find(|dtype| dtype.to_string() == name);
    found.ok_or_else(|| Failure::Unusable(format!("dtype: expected f32, f16 or bf16, got {name:?}")))
}

/// The CPU first, then the adapters.
fn places(adapter: &str) -> Result<Vec<Place>, Failure> {
    let mut places = vec![Place::Host(open(&Choice::Cpu)?)];
    for choice in pollster::block_on(Choice::named(adapter))? {
        match &choice {
            Choice::Adapter(adapter) => {
                let device = Box::new(Device::open(adapter, engine_options()?)?);
                places.push(Place::Device { name: choice.name(), device });
            }
            Choice::Reference if adapter == "reference" => {
                return Err(Failure::Unusable("adapter: the reference says what is right and is not timed".into()));
            }
            _ => {}
        }
    }
    Ok(places)
}

impl Place {
    fn name(&self) -> &str {
        match self {
            Self::Host(engine) => engine.name(),
            Self::Device { name, .. } => name,
        }
    }
}

/// Times a pass and a copy of as many bytes; a result that is not right has no speed.
fn measured(place: &Place, problem: &Problem, backward: bool, want: &[Data]) -> Result<Figures, String> {
    let text = |error: wgpu_norm::Error| error.to_string();
    let (time, bytes, strategy, results, copy) = match place {
        Place::Host(engine) => {
            let results = host::results(engine, problem, backward).map_err(text)?;
            let time = host::timed(engine, problem, backward).map_err(text)?;
            // Read once and written once, and in backward the gradient as well.
            let bytes = problem.plan.tensor_bytes() * if backward { 3 } else { 2 };
            let half = usize::try_from(bytes / 2).unwrap_or(usize::MAX);
            (time, bytes, "cpu", results, host::memcpy(half).median)
        }
        Place::Device { device, .. } => {
            let measured = if backward { device.backward(problem) } else { device.forward(problem) };
            let measured = measured.map_err(text)?;
            let copy = device.copy_kernel(measured.bytes / 2).map_err(text)?.median;
            (measured.time, measured.bytes, measured.strategy, measured.results, copy)
        }
    };
    let errors = worst(&results, want)?;
    Ok(Figures { time, bytes, copy, strategy, errors })
}

/// The errors of the tensor that is worst off.
fn worst(results: &[Data], want: &[Data]) -> Result<Errors, String> {
    if results.len() != want.len() {
        return Err(format!("{} results, expected {}", results.len(), want.len()));
    }
    let each = results.iter().zip(want).map(|(got, want)| Errors::of(got, &want.to_f64()));
    let worst = each.max_by(|one, other| one.over_tolerance().total_cmp(&other.over_tolerance()));
    let worst = worst.ok_or("nothing came out")?;
    if worst.within_tolerance() {
        return Ok(worst);
    }
    Err(format!("wrong by {:.1} times what is tolerated: no speed", worst.over_tolerance()))
}

impl Row {
    fn header() -> String {
        format!(
            "{:<16} {:<5} {:<8} {:<44} {:>11} {:>6} {:>8} {:>8}  strategy",
            "workload", "dtype", "pass", "adapter", "median", "+-", "GB/s", "of copy"
        )
    }

    fn pass(&self) -> &'static str {
        if self.backward { "backward" } else { "forward" }
    }

    /// What the row is about.
    fn start(&self) -> String {
        let adapter: String = self.adapter.chars().take(44).collect();
        format!("{:<16} {:<5} {:<8} {adapter:<44}", self.workload, self.dtype.to_string(), self.pass())
    }

    fn line(&self) -> String {
        let start = self.start();
        match &self.outcome {
            Ok(figures) => format!(
                "{start} {:>8.1} us {:>5.1}% {:>8.2} {:>7.0}%  {}",
                figures.time.median * 1e6,
                figures.time.spread * 100.0,
                figures.gigabytes_a_second(),
                figures.copy / figures.time.median * 100.0,
                figures.strategy
            ),
            Err(reason) => format!("{start} FAIL {reason}"),
        }
    }

    /// With what changed since an earlier report, where there is one.
    fn json_since(&self, earlier: Option<&Earlier>) -> Value {
        let mut row = self.json();
        if let Some(earlier) = earlier {
            row["change"] = json!(earlier.change(&row).to_string());
        }
        row
    }

    fn json(&self) -> Value {
        let mut row = json!({
            "workload": self.workload,
            "dtype": self.dtype.to_string(),
            "pass": self.pass(),
            "adapter": self.adapter,
        });
        match &self.outcome {
            Ok(figures) => {
                row["median_s"] = json!(figures.time.median);
                row["spread"] = json!(figures.time.spread);
                row["timed_by"] = json!("wall time over batches");
                row["bytes"] = json!(figures.bytes);
                row["gb_per_s"] = json!(figures.gigabytes_a_second());
                row["share_of_copy"] = json!(figures.copy / figures.time.median);
                row["strategy"] = json!(figures.strategy);
                row["errors"] = figures.errors.json();
            }
            Err(reason) => row["error"] = json!(reason),
        }
        row
    }
}

/// How many times faster than the CPU each adapter is, with its data already there.
fn against_the_cpu(rows: &[Row]) {
    let time = |row: &Row| row.outcome.as_ref().ok().map(|figures| figures.time.median);
    let mut lines = Vec::new();
    for row in rows.iter().filter(|row| row.adapter != "cpu") {
        let same = |other: &&Row| {
            other.adapter == "cpu"
                && (other.workload, other.dtype, other.backward) == (row.workload, row.dtype, row.backward)
        };
        if let (Some(here), Some(cpu)) = (time(row), rows.iter().find(same).and_then(time)) {
            lines.push(format!("{} {:>6.2} times the CPU's speed", row.start(), cpu / here));
        }
    }
    if !lines.is_empty() {
        print("");
        lines.iter().for_each(|line| print(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_result_has_no_speed() {
        let right = || vec![Data::from_f64(Dtype::F32, &[1.0, 2.0]), Data::from_f64(Dtype::F32, &[3.0])];
        assert!(worst(&right(), &right()).is_ok());
        let wrong = vec![Data::from_f64(Dtype::F32, &[1.0, 2.0]), Data::from_f64(Dtype::F32, &[3.001])];
        assert!(worst(&wrong, &right()).expect_err("the second is wrong").ends_with("no speed"));
        assert!(worst(&right()[..1], &right()).is_err());
        let nan = vec![Data::from_f64(Dtype::F32, &[1.0, f64::NAN]), Data::from_f64(Dtype::F32, &[3.0])];
        assert!(worst(&nan, &right()).is_err());
    }
}
