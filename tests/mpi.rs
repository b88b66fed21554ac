//! The conformance cases over the processes that `mpirun` started, and what becomes of a job whose ranks fail.
//!
//! ```sh
//! ./test-mpi.sh
//! ```
//!
//! Started by `cargo test` this is a world of one.

mod engines;
mod shards;

use engines::engines;
use serde_json::Value;
use shards::rows;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;
use wgpu_norm::checkpoint::Checkpoint;
use wgpu_norm::collective::mpi::environment::Universe;
use wgpu_norm::collective::mpi::traits::Communicator;
use wgpu_norm::collective::{Group, mpi, mpi_world};
use wgpu_norm::layer::Entry;
use wgpu_norm::norm::{BatchNorm, SyncBatchNorm};
use wgpu_norm::plan::Momentum;
use wgpu_norm::{Engine, Parameters, RunningStatistics, Tensor};

const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    let (universe, _) =
        mpi::initialize_with_threading(mpi::Threading::Serialized).expect("MPI was not initialized yet");
    match std::env::args().nth(1).as_deref() {
        Some("dies") => a_rank_dies(&universe),
        Some("never-comes") => a_rank_never_comes(&universe),
        _ => all_cases(&universe),
    }
}

/// The last rank ends without a word: MPI's own handler has to end the job.
fn a_rank_dies(universe: &Universe) {
    let group = mpi_world(PATIENCE).expect("MPI is initialized");
    if group.rank() + 1 == group.world_size() {
        std::process::exit(3);
    }
    let outcome = group.barrier();
    println!("rank {}: {outcome:?}", group.rank());
    universe.world().abort(4);
}

/// The last rank never calls: the others get an error after the timeout.
fn a_rank_never_comes(universe: &Universe) {
    let group = mpi_world(Duration::from_millis(500)).expect("MPI is initialized");
    if group.rank() + 1 == group.world_size() {
        std::thread::sleep(PATIENCE);
    }
    let error = group.barrier().expect_err("one is missing");
    let again = group.barrier().expect_err("the group is broken");
    println!("rank {}: {error}; then {again}", group.rank());
    // Time for the others to say the same.
    std::thread::sleep(Duration::from_secs(1));
    universe.world().abort(5);
}

fn all_cases(universe: &Universe) {
    let group = mpi_world(PATIENCE).expect("MPI is initialized");
    let engine = engine_of(group.rank());
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases/sync_batch_norm");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("the cases are there").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in &paths {
        if let Err(fault) = Case::open(path).run(&engine, &group) {
            eprintln!("rank {} on {}, {}: {fault}", group.rank(), engine.name(), path.display());
            universe.world().abort(1);
        }
    }
    messages_of_any_length(&group);
    assert!(paths.len() >= 10, "there are only {} cases", paths.len());
    println!("rank {} of {} on {}: {} cases", group.rank(), group.world_size(), engine.name(), paths.len());
    group.barrier().expect("all come to the end");
}

/// Short and long messages, of other lengths on other ranks.
fn messages_of_any_length(group: &Group) {
    for unit in [1, 254, 255, 256, 1000] {
        let message = |rank: usize| (0..unit * rank).map(|i| (i + rank) as f64).collect::<Vec<_>>();
        let all = group.all_gather("lengths", &message(group.rank())).expect("all come");
        assert_eq!(all, (0..group.world_size()).map(message).collect::<Vec<_>>(), "{unit}");
    }
    if group.world_size() > 1 {
        let error = group.all_gather(if group.rank() == 0 { "one" } else { "another" }, &[]).expect_err("they differ");
        assert!(error.to_string().contains("called something else"), "{error}");
    }
    let channels = 200 + 100 * group.rank();
    let x = Tensor::zeros([2, channels], wgpu_norm::Dtype::F32).expect("small");
    let mut parameters = Parameters { group: Some(group), ..Parameters::default() };
    let outcome = engine_of(0).forward(&SyncBatchNorm::new(), &x, &mut parameters);
    match outcome {
        Ok(_) => assert_eq!(group.world_size(), 1, "the ranks differ"),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("number of channels: 200 on rank 0, 300 on rank 1"), "{text}");
        }
    }
}

/// The CPU, the adapters and the reference in turn, so that ranks of different kinds meet.
fn engine_of(rank: usize) -> Engine {
    let mut engines = engines();
    engines.rotate_left(1);
    engines.swap_remove(rank % engines.len())
}

struct Case {
    file: Checkpoint,
    attributes: Value,
}

impl Case {
    fn open(path: &PathBuf) -> Self {
        let file = Checkpoint::open(path).expect("a case");
        let attributes = serde_json::from_str(&file.metadata()["attrs"]).expect("attributes");
        Self { file, attributes }
    }

    fn tensor(&self, name: &str) -> Option<Tensor> {
        match self.file.get(name).expect("it can be read")? {
            Entry::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    fn running(&self) -> Option<RunningStatistics> {
        let num_batches_tracked = match self.file.get("num_batches_tracked").expect("it can be read") {
            Some(Entry::Counter(batches)) => Some(batches),
            _ => None,
        };
        let values = |name| self.tensor(name).map(|tensor| tensor.data().to_f32());
        Some(RunningStatistics { mean: values("running_mean")?, var: values("running_var")?, num_batches_tracked })
    }

    fn norm(&self) -> SyncBatchNorm {
        let number = |key: &str, default| self.attributes.get(key).map_or(default, |n| n.as_f64().expect("a number"));
        let momentum = match self.attributes.get("momentum") {
            Some(Value::Null) => Momentum::Cumulative,
            _ => Momentum::Fixed(number("momentum", 0.1)),
        };
        let training = self.attributes.get("training").is_some_and(|training| training == &Value::Bool(true));
        SyncBatchNorm { batch: BatchNorm::new().training(training).momentum(momentum).eps(number("eps", 1e-5)) }
    }

    /// This rank's samples: as the case has it for so many ranks, else cut anew, the first of three ranks with none.
    fn own(&self, samples: usize, group: &Group) -> Range<usize> {
        let splits = self.file.integers("splits").expect("it can be read").expect("there are splits");
        let (rank, ranks) = (group.rank(), group.world_size());
        if splits.len() == ranks {
            let lens: Vec<usize> = splits.iter().map(|len| usize::try_from(*len).expect("a length")).collect();
            let first = lens[..rank].iter().sum::<usize>();
            return first..first + lens[rank];
        }
        let cut = |rank: usize| if ranks == 3 && rank == 1 { 0 } else { rank * samples / ranks };
        cut(rank)..cut(rank + 1)
    }

    fn run(&self, engine: &Engine, group: &Group) -> Result<(), String> {
        let text = |error: wgpu_norm::Error| error.to_string();
        let input = self.tensor("input").expect("there is an input");
        let own = self.own(input.shape()[0], group);
        let (weight, bias, mut running) = (self.tensor("weight"), self.tensor("bias"), self.running());
        let shard = rows(&input, own.clone());
        let mut parameters = Parameters {
            weight: weight.as_ref(),
            bias: bias.as_ref(),
            running: running.as_mut(),
            group: Some(group),
            ..Parameters::default()
        };
        let norm = self.norm();
        let forward = engine.forward_saving(&norm, &shard, &mut parameters).map_err(text)?;
        if let Some(grad_output) = self.tensor("grad_output") {
            let upstream = rows(&grad_output, own.clone());
            let gradients =
                engine.backward(&norm, &shard, &upstream, &forward.statistics, &parameters, None).map_err(text)?;
            self.compare_rows("grad_input", gradients.input.as_ref(), &own)?;
            for (name, gradient) in [("grad_weight", gradients.weight), ("grad_bias", gradients.bias)] {
                let Some(gradient) = gradient else { continue };
                let all = group.all_gather(name, &gradient.data().to_f64()).map_err(text)?;
                let sums: Vec<f64> = (0..gradient.data().len()).map(|i| all.iter().map(|own| own[i]).sum()).collect();
                self.compare(name, &sums, &self.expected(name)?)?;
            }
            return Ok(());
        }
        self.compare_rows("output", Some(&forward.output), &own)?;
        let Some(running) = running else { return Ok(()) };
        for (name, values) in [("running_mean", running.mean), ("running_var", running.var)] {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let all = group.all_gather(name, &values).map_err(text)?;
            if let Some(rank) = all.iter().position(|other| *other != values) {
                return Err(format!("{name}: that of rank {rank} is another"));
            }
            if self.tensor(&format!("expected.{name}")).is_some() {
                self.compare(name, &values, &self.expected(name)?)?;
            }
        }
        Ok(())
    }

    fn expected(&self, name: &str) -> Result<Vec<f64>, String> {
        let tensor = self.tensor(&format!("expected.{name}")).ok_or_else(|| format!("the case expects no {name}"))?;
        Ok(tensor.data().to_f64())
    }

    fn compare_rows(&self, name: &str, got: Option<&Tensor>, own: &Range<usize>) -> Result<(), String> {
        let got = got.ok_or_else(|| format!("{name}: missing"))?;
        let all = self.tensor(&format!("expected.{name}")).ok_or_else(|| format!("the case expects no {name}"))?;
        self.compare(name, &got.data().to_f64(), &rows(&all, own.clone()).data().to_f64())
    }

    fn compare(&self, name: &str, got: &[f64], want: &[f64]) -> Result<(), String> {
        let tolerance = |key: &str| self.file.metadata()[key].parse::<f64>().expect("a number");
        let (rtol, atol) = (tolerance("rtol"), tolerance("atol"));
        if got.len() != want.len() {
            return Err(format!("{name}: {} values, expected {}", got.len(), want.len()));
        }
        let close = |(got, want): (&f64, &f64)| (got - want).abs() <= atol + rtol * want.abs();
        match got.iter().zip(want).position(|pair| !close(pair)) {
            Some(i) => Err(format!("{name}[{i}]: got {}, expected {}", got[i], want[i])),
            None => Ok(()),
        }
    }
}
