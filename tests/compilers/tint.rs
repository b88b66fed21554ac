//! Tint, the compiler of WGSL in Chromium, in a process of Node's for each core.

use crate::specialisations::Specialisation;
use crate::tools::named_by;
use serde_json::{Map, Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use wgpu_norm::gpu::kernels::Target;

/// What is compiled: its name, its text and, if its pipeline is made too, the values of its overrides.
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) code: String,
    pub(crate) constants: Option<Map<String, Value>>,
}

impl Job {
    /// The shader alone.
    pub(crate) fn module(one: &Specialisation) -> Self {
        Self { name: one.name(), code: one.linked(Target::Browser).source, constants: None }
    }

    /// The pipeline too.
    pub(crate) fn pipeline(one: &Specialisation) -> Self {
        let module = Self::module(one);
        let declared = module.code.lines().filter_map(|line| line.strip_prefix("override ")?.split(':').next());
        let values = declared.filter_map(|name| Some((name.to_owned(), json!(one.overrides.value(name)?))));
        Self { constants: Some(values.collect()), ..module }
    }
}

/// The folder where npm put the package `webgpu`.
pub(crate) struct Tint {
    folder: PathBuf,
}

impl Tint {
    pub(crate) fn find() -> Result<Self, String> {
        let folder = named_by("WGPU_NORM_TINT").map_err(|e| format!("{e} (to a folder with npm's package webgpu)"))?;
        Command::new("node").arg("--version").output().map_err(|error| format!("node: {error}"))?;
        Ok(Self { folder })
    }

    /// The version that compiled, and what it has against each job that it refuses.
    pub(crate) fn compile(&self, jobs: &[Job]) -> (String, Vec<String>) {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shares = jobs.chunks(jobs.len().div_ceil(cores).max(1));
        let results: Vec<(String, Vec<String>)> = std::thread::scope(|scope| {
            let running: Vec<_> = shares.map(|share| scope.spawn(|| self.share(share))).collect();
            running.into_iter().map(|one| one.join().expect("the process answers")).collect()
        });
        let version = results.first().map(|(version, _)| version.clone()).unwrap_or_default();
        (version, results.into_iter().flat_map(|(_, faults)| faults).collect())
    }

    fn share(&self, jobs: &[Job]) -> (String, Vec<String>) {
        let mut child = self.start();
        let stdin = child.stdin.take().expect("it is piped");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut answer = || -> Option<Value> {
            let line = lines.next()?.expect("Node's output is text");
            Some(serde_json::from_str(&line).unwrap_or_else(|_| panic!("not an answer: {line}")))
        };
        let version = answer().expect("the version comes first")["version"].as_str().unwrap_or("?").to_owned();
        let faults = std::thread::scope(|scope| {
            scope.spawn(|| feed(stdin, jobs));
            let mut faults: Vec<Option<String>> = vec![None; jobs.len()];
            while let Some(answer) = answer() {
                let id = answer["id"].as_u64().and_then(|id| usize::try_from(id).ok()).expect("a job's number");
                let errors = answer["errors"].as_array().expect("a list");
                let text: Vec<&str> = errors.iter().filter_map(Value::as_str).collect();
                faults[id] = Some(text.join("; "));
            }
            faults
        });
        let status = child.wait().expect("Node ends");
        assert!(status.success(), "Node ended with {status}");
        let named = faults.into_iter().zip(jobs).map(|(fault, job)| match fault {
            Some(fault) if fault.is_empty() => None,
            Some(fault) => Some(format!("{}: {fault}", job.name)),
            None => Some(format!("{}: no answer", job.name)),
        });
        (version, named.flatten().collect())
    }

    fn start(&self) -> Child {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compilers/tint.mjs");
        let mut node = Command::new("node");
        node.arg(script).arg(&self.folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        node.spawn().expect("Node starts, as it did when it told its version")
    }
}

fn feed(mut stdin: ChildStdin, jobs: &[Job]) {
    for (id, job) in jobs.iter().enumerate() {
        let Job { code, constants, .. } = job;
        writeln!(stdin, "{}", json!({ "id": id, "code": code, "constants": constants })).expect("Node reads");
    }
}
