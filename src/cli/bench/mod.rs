//! `wgpu-norm bench`: how fast every workload is on everything here, and how close that comes to a plain copy.

mod clock;
mod comparison;
mod copies;
mod device;
mod host;
mod passes;
mod report;
mod row;
mod sets;
mod sweeps;
mod timestamps;
mod versus;
mod workloads;

use super::compare::Errors;
use super::features::Disabled;
use super::head::{Described, Head};
use super::page::Target;
use super::{Failure, engine_options, one_line, open, print, print_json, progress};
use comparison::Earlier;
use copies::Copy;
use device::Device;
use host::Results;
use row::{Figures, OnDevice, Row};
use serde_json::{Value, json};
use std::path::PathBuf;
use versus::Versus;
use wgpu_norm::{Choice, Data, Dtype, Engine};
use workloads::{Problem, WORKLOADS, Workload};

/// What `bench` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where to run: auto, all, cpu, or part of an adapter's name. The CPU is measured beside any adapter.
    #[arg(long, default_value = "all")]
    adapter: String,
    #[command(flatten)]
    disabled: Disabled,
    /// The workloads whose names begin like this: ln_, rms_, gn_, in_, bn_, pono, sn, sweep_rows_ or sweep_columns_, or
    /// more of a name; all but the sweeps where none is given.
    #[arg(value_name = "WORKLOAD")]
    workloads: Vec<String>,
    /// The storage types, f32, f16 or bf16, with commas between them.
    #[arg(long, value_delimiter = ',', default_value = "f32")]
    dtype: Vec<String>,
    /// The pass: forward, backward, or both.
    #[arg(long, default_value = "both", value_parser = ["forward", "backward", "both"])]
    pass: String,
    /// Tell what moved since an earlier report, which `--json` printed.
    #[arg(long, value_name = "OLD.json")]
    compare: Option<PathBuf>,
    /// Write a page with plots and the table; where no workload is given, of the sweeps as well.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// What is measured on.
enum Place {
    Host(Engine),
    Device { name: String, device: Box<Device> },
}

/// What was measured.
struct Report {
    head: Head,
    places: Vec<Described>,
    copies: Vec<Copy>,
    rows: Vec<Row>,
    earlier: Option<Earlier>,
}

pub(super) fn bench(arguments: &Arguments) -> Result<(), Failure> {
    let workloads = chosen(&arguments.workloads, arguments.report.is_some())?;
    let dtypes = arguments.dtype.iter().map(|name| dtype(name)).collect::<Result<Vec<_>, _>>()?;
    let earlier = arguments.compare.as_deref().map(Earlier::read).transpose().map_err(Failure::Unusable)?;
    let target = arguments.report.as_deref().map(Target::new).transpose()?;
    let places = places(&arguments.adapter, &arguments.disabled)?;
    let passes: &[bool] = match arguments.pass.as_str() {
        "forward" => &[false],
        "backward" => &[true],
        _ => &[false, true],
    };
    let reference = open(&Choice::Reference, &arguments.disabled)?;
    let bar = progress::bar((workloads.len() * dtypes.len() * passes.len() * places.len()) as u64);
    let say = |line: &str| {
        if !arguments.json {
            bar.suspend(|| print(line));
        }
    };
    let copies: Vec<Copy> = places.iter().flat_map(Copy::of).collect();
    copies.iter().for_each(|copy| say(&copy.line()));
    say("");
    say(&Row::header());
    let mut rows = Vec::new();
    for workload in workloads {
        for &dtype in &dtypes {
            let problem = workload.problem(dtype)?;
            for &backward in passes {
                let want = host::results(&reference, &problem, backward)?;
                for place in &places {
                    let outcome = measured(place, &problem, backward, &want).map_err(|error| one_line(&error));
                    let row = Row { workload, dtype, backward, adapter: place.name().into(), outcome };
                    say(&row.line());
                    rows.push(row);
                    bar.inc(1);
                }
            }
        }
    }
    bar.finish_and_clear();
    let report =
        Report { head: Head::now(), places: places.iter().map(Place::described).collect(), copies, rows, earlier };
    if arguments.json {
        print_json(&report.json());
    } else {
        report.told().iter().for_each(|line| print(line));
    }
    if let Some(target) = target {
        let failed = |error| Failure::Unusable(format!("report: {error}"));
        target.write(&report::page(&report).map_err(failed)?)?;
    }
    if report.rows.iter().any(|row| row.outcome.is_err()) { Err(Failure::Mismatch) } else { Ok(()) }
}

/// The workloads whose names begin so, in the order of the tables; where no name is given, the sweeps too if they are
/// wanted.
fn chosen(names: &[String], sweeps: bool) -> Result<Vec<&'static Workload>, Failure> {
    let all = || WORKLOADS.iter().chain(sweeps::workloads());
    if let Some(name) = names.iter().find(|name| !all().any(|workload| workload.name.starts_with(&***name))) {
        let known = WORKLOADS.iter().map(|workload| workload.name).collect::<Vec<_>>().join(", ");
        let expected = format!("expected the beginning of one of {known}, or of sweep_rows_ or sweep_columns_");
        return Err(Failure::Unusable(format!("workload: {expected}, got {name:?}")));
    }
    if names.is_empty() {
        return Ok(if sweeps { all().collect() } else { WORKLOADS.iter().collect() });
    }
    Ok(all().filter(|workload| names.iter().any(|name| workload.name.starts_with(&**name))).collect())
}

fn dtype(name: &str) -> Result<Dtype, Failure> {
    let found = Dtype::ALL.into_iter().find(|dtype| dtype.to_string() == name);
    found.ok_or_else(|| Failure::Unusable(format!("dtype: expected f32, f16 or bf16, got {name:?}")))
}

/// The CPU first, then the adapters.
fn places(adapter: &str, disabled: &Disabled) -> Result<Vec<Place>, Failure> {
    let mut places = vec![Place::Host(open(&Choice::Cpu, disabled)?)];
    let choices = pollster::block_on(Choice::named(adapter))?;
    for choice in &choices {
        match choice {
            Choice::Adapter { adapter, .. } => {
                let device = Box::new(Device::open(adapter, engine_options()?, disabled.features())?);
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

    fn described(&self) -> Described {
        match self {
            Self::Host(engine) => Described::host(engine.name()),
            Self::Device { name, device } => Described::adapter(name, &device.device.adapter_info()),
        }
    }
}

/// Bytes that any such pass moves beside those of the tensor: parameters and their gradients, and the mean and rstd that
/// backward is given of each group, of so many bytes each.
fn bytes_beside(problem: &Problem, backward: bool, statistic: usize) -> u64 {
    let of = |data: &Option<Data>| data.as_ref().map_or(0, |data| data.bytes().len() as u64);
    let [weight, bias] = [of(&problem.weight), of(&problem.bias)];
    let statistics = 2 * statistic * problem.plan.view().statistics();
    if backward { 2 * weight + bias + statistics as u64 } else { weight + bias }
}

/// Times a pass and a copy of as many bytes; a result that is not right has no speed.
fn measured(place: &Place, problem: &Problem, backward: bool, want: &Results) -> Result<Figures, String> {
    // Read once and written once, and in backward the gradient as well.
    let floor = problem.plan.tensor_bytes() * if backward { 3 } else { 2 };
    let text = |error: wgpu_norm::Error| error.to_string();
    match place {
        Place::Host(engine) => {
            let errors = worst(&host::results(engine, problem, backward).map_err(text)?, want)?;
            let time = host::timed(engine, problem, backward).map_err(text)?;
            let bytes = floor + bytes_beside(problem, backward, size_of::<f64>());
            let copy = copies::memcpy(usize::try_from(bytes / 2).unwrap_or(usize::MAX)).median;
            let timed_by = Figures::by_wall();
            Ok(Figures { time, timed_by, bytes, floor, copy, strategy: "cpu", errors, on_device: None })
        }
        Place::Device { device, .. } => {
            let measured = device.heeding(|| device.measure(problem, backward)).map_err(text)?;
            let errors = worst(&measured.results, want)?;
            let (time, copy, timed_by) = measured.pass.beside(&measured.copy);
            let on_device = OnDevice {
                with_transfer: measured.with_transfer,
                first_call: measured.first_call,
                record: measured.record,
            };
            Ok(Figures {
                time,
                timed_by,
                bytes: measured.bytes,
                floor,
                copy: copy.median,
                strategy: measured.strategy,
                errors,
                on_device: Some(on_device),
            })
        }
    }
}

/// The errors of the tensor that is worst off.
fn worst(results: &Results, want: &Results) -> Result<Errors, String> {
    let tensors = each(&results.tensors, &want.tensors)?.chain(each(&results.beside, &want.beside)?);
    let worst = tensors.max_by(|one, other| one.over_tolerance().total_cmp(&other.over_tolerance()));
    let worst = worst.ok_or("nothing came out")?;
    if worst.within_tolerance() {
        return Ok(worst);
    }
    Err(format!("wrong by {:.1} times what is tolerated: no speed", worst.over_tolerance()))
}

fn each<'a>(results: &'a [Data], want: &'a [Data]) -> Result<impl Iterator<Item = Errors> + 'a, String> {
    if results.len() != want.len() {
        return Err(format!("{} results, expected {}", results.len(), want.len()));
    }
    Ok(results.iter().zip(want).map(|(got, want)| Errors::of(got, &want.to_f64())))
}

impl Report {
    /// What is said below the table, a blank line before each part.
    fn told(&self) -> Vec<String> {
        let lines = sweeps::lines(&self.rows);
        let changes = self.earlier.iter().flat_map(|earlier| {
            self.rows.iter().map(move |row| format!("{} {}", row.start(), earlier.told(&row.json())))
        });
        let parts = [
            Row::notes(&self.rows),
            versus::told(&self.rows),
            lines.iter().flat_map(sweeps::Line::cliffs_told).collect(),
            versus::crossings(&lines).iter().map(versus::Crossing::told).collect(),
            changes.collect(),
        ];
        let apart = |part: Vec<String>| std::iter::once(String::new()).chain(part);
        parts.into_iter().filter(|part| !part.is_empty()).flat_map(apart).collect()
    }

    fn json(&self) -> Value {
        let lines = sweeps::lines(&self.rows);
        let mut report = json!(self.head);
        report["places"] = json!(self.places);
        report["copies"] = self.copies.iter().map(Copy::json).collect();
        report["results"] = self.rows.iter().map(|row| self.row_json(row)).collect();
        report["cliffs"] = lines.iter().flat_map(sweeps::Line::cliffs_told).collect();
        report["break_even"] = versus::crossings(&lines).iter().map(versus::Crossing::json).collect();
        report
    }

    /// With its place beside the CPU, and what changed since an earlier report.
    fn row_json(&self, row: &Row) -> Value {
        let mut json = row.json();
        if let Some(Versus { resident, with_transfer }) = Versus::of(row, &self.rows) {
            json["times_the_cpu"] = json!(resident);
            json["times_the_cpu_with_transfer"] = json!(with_transfer);
        }
        if let Some(earlier) = &self.earlier {
            earlier.annotate(&mut json);
        }
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_result_has_no_speed() {
        let data = |values: &[f64]| Data::from_f64(Dtype::F32, values);
        let results = |tensors: &[&[f64]], beside: &[&[f64]]| Results {
            tensors: tensors.iter().map(|values| data(values)).collect(),
            beside: beside.iter().map(|values| data(values)).collect(),
        };
        let right = results(&[&[1.0, 2.0], &[3.0]], &[&[4.0]]);
        assert!(worst(&right, &right).is_ok());
        for wrong in [
            results(&[&[1.0, 2.0], &[3.001]], &[&[4.0]]),
            results(&[&[1.0, f64::NAN], &[3.0]], &[&[4.0]]),
            results(&[&[1.0, 2.0], &[3.0]], &[&[4.001]]),
        ] {
            assert!(worst(&wrong, &right).is_err_and(|error| error.ends_with("no speed")));
        }
        assert!(worst(&results(&[&[1.0, 2.0]], &[&[4.0]]), &right).is_err());
        assert!(worst(&results(&[&[1.0, 2.0], &[3.0]], &[]), &right).is_err());
    }

    #[test]
    fn sweeps_are_run_where_they_are_asked_for() {
        let names = |asked: &[&str]| {
            let asked: Vec<String> = asked.iter().map(|name| (*name).to_owned()).collect();
            chosen(&asked, false).map(|chosen| chosen.iter().map(|workload| workload.name).collect::<Vec<_>>())
        };
        assert!(names(&[]).is_ok_and(|names| names.len() == WORKLOADS.len()));
        assert!(chosen(&[], true).is_ok_and(|chosen| chosen.len() == WORKLOADS.len() + 21));
        assert!(names(&["sweep"]).is_ok_and(|names| names.len() == 21));
        assert!(
            names(&["sweep_columns_16", "ln_tiny"])
                .is_ok_and(|n| n == ["ln_tiny", "sweep_columns_16", "sweep_columns_16384"])
        );
        assert!(names(&["ln_tiny", "swept"]).is_err());
    }
}
