//! What runs in Python: PyTorch and ONNX Runtime, by a script that one process of Python runs throughout.
//!
//! A line of JSON to the script is a request and a line of JSON from it the answer; tensors go through files of plain
//! little-endian f32.

use super::{Column, Peer, Refusal, Round};
use crate::task::{Operation, Task};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use tempfile::TempDir;
use wgpu_norm::Data;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers.py");

/// The process, where there is one, and what it has.
pub(crate) struct Script {
    process: Option<Process>,
    has: Value,
}

struct Process {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    folder: TempDir,
    /// The workload whose tensors are in the folder.
    written: &'static str,
}

/// One of the script's libraries on one of its devices.
pub(crate) struct Python {
    script: Rc<RefCell<Script>>,
    column: Column,
    /// As the script calls it: cpu, cuda or webgpu.
    device: &'static str,
}

impl Script {
    /// Starts Python; what it has not is told, and is a dash later.
    pub(crate) fn start(python: &Path, threads: usize) -> Self {
        match Process::start(python, threads) {
            Ok((process, has)) => {
                for line in has["notes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    eprintln!("{line}");
                }
                Self { process: Some(process), has }
            }
            Err(reason) => {
                eprintln!("{}: {reason}: no torch, no onnxruntime", python.display());
                Self { process: None, has: Value::Null }
            }
        }
    }

    fn measure(&mut self, column: Column, device: &str, task: &Task) -> Result<Round, Refusal> {
        let process = self.process.as_mut().ok_or_else(|| Refusal::cannot("Python could not be started"))?;
        let answer = process.measure(column, device, task);
        if answer.is_err() {
            // It is not known where in the conversation it is.
            self.process = None;
        }
        let answer = answer.map_err(Refusal::failed)?;
        match (answer["cannot"].as_str(), answer["failed"].as_str(), answer["seconds"].as_f64()) {
            (Some(reason), _, _) => Err(Refusal::cannot(reason)),
            (_, Some(reason), _) => Err(Refusal::failed(reason)),
            (_, _, Some(seconds)) => Ok(Round { seconds, results: results(&answer["results"])? }),
            _ => Err(Refusal::failed("the script's answer has neither a time nor a reason")),
        }
    }
}

impl Process {
    fn start(python: &Path, threads: usize) -> Result<(Self, Value), String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut command = Command::new(python);
        command.arg(SCRIPT).arg(threads.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let (to, from) = child.stdin.take().zip(child.stdout.take()).ok_or("there are no pipes")?;
        let mut process = Self { child, to, from: BufReader::new(from), folder, written: "" };
        let has = process.answer()?;
        Ok((process, has))
    }

    fn measure(&mut self, column: Column, device: &str, task: &Task) -> Result<Value, String> {
        self.write(task).map_err(|error| error.to_string())?;
        let request = json!({
            "library": column.name(),
            "device": device,
            "folder": self.folder.path(),
            "workload": task.name,
            "backward": task.backward,
            "operation": operation(task.operation),
            "groups": if let Operation::GroupNorm { groups } = task.operation { groups } else { 0 },
            "shape": task.shape,
            "eps": task.eps(),
        });
        writeln!(self.to, "{request}").map_err(|error| error.to_string())?;
        self.answer()
    }

    /// Both passes of a workload take the same tensors.
    fn write(&mut self, task: &Task) -> std::io::Result<()> {
        if self.written == task.name {
            return Ok(());
        }
        let problem = &task.problem;
        let running = problem.running.as_ref();
        let estimate = |values: &[f32]| Data::F32(values.to_vec());
        let tensors = [
            ("input", Some(problem.input.clone())),
            ("grad_output", Some(problem.grad_output.clone())),
            ("weight", problem.weight.clone()),
            ("bias", problem.bias.clone()),
            ("mean_weight", problem.extra.mean_weight.clone()),
            ("var_weight", problem.extra.var_weight.clone()),
            ("running_mean", running.map(|running| estimate(&running.mean))),
            ("running_var", running.map(|running| estimate(&running.var))),
        ];
        for (name, data) in tensors {
            let path = self.folder.path().join(name);
            match data {
                Some(data) => std::fs::write(path, data.bytes())?,
                None if path.exists() => std::fs::remove_file(path)?,
                None => {}
            }
        }
        self.written = task.name;
        Ok(())
    }

    fn answer(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        let read = self.from.read_line(&mut line).map_err(|error| error.to_string())?;
        if read == 0 {
            return Err("the script ended".into());
        }
        serde_json::from_str(&line).map_err(|error| format!("the script said {line:?}: {error}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be at work; there is nothing that it has to finish.
        if self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
    }
}

fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::LayerNorm => "layer_norm",
        Operation::LayerNormOfChannels => "layer_norm_of_channels",
        Operation::RmsNorm => "rms_norm",
        Operation::GroupNorm { .. } => "group_norm",
        Operation::InstanceNorm => "instance_norm",
        Operation::BatchNorm { training: true } => "batch_norm_train",
        Operation::BatchNorm { training: false } => "batch_norm_eval",
        Operation::BatchNormChannelsLast => "batch_norm_channels_last",
        Operation::PositionalNorm => "positional_norm",
        Operation::SwitchableNorm => "switchable_norm",
    }
}

fn results(paths: &Value) -> Result<Vec<Data>, Refusal> {
    let paths = paths.as_array().into_iter().flatten().filter_map(Value::as_str);
    paths.map(|path| read(Path::new(path)).map_err(Refusal::failed)).collect()
}

fn read(path: &Path) -> std::io::Result<Data> {
    let bytes = std::fs::read(path)?;
    let (values, _) = bytes.as_chunks::<4>();
    Ok(Data::F32(values.iter().map(|value| f32::from_le_bytes(*value)).collect()))
}

impl Python {
    pub(crate) fn on_the_cpu(script: &Rc<RefCell<Script>>) -> Vec<Self> {
        let column = |column| Self { script: Rc::clone(script), column, device: "cpu" };
        [Column::Torch, Column::TorchCompile, Column::OnnxRuntime].map(column).into()
    }

    /// PyTorch's CUDA counts beside the adapter of the same card, and ONNX Runtime's WebGPU where it has it.
    pub(crate) fn on_adapter(script: &Rc<RefCell<Script>>, adapter: &str) -> Vec<Self> {
        let has = &script.borrow().has;
        let is_the_card = has["cuda"].as_str().is_some_and(|card| adapter.contains(card) || card.contains(adapter));
        let cuda = [Column::Torch, Column::TorchCompile].into_iter().filter(|_| is_the_card).map(|of| (of, "cuda"));
        let webgpu = (has["webgpu"] == json!(true)).then_some((Column::OnnxRuntime, "webgpu"));
        cuda.chain(webgpu).map(|(column, device)| Self { script: Rc::clone(script), column, device }).collect()
    }
}

impl Peer for Python {
    fn column(&self) -> Column {
        self.column
    }

    fn measure(&mut self, task: &Task) -> Result<Round, Refusal> {
        self.script.borrow_mut().measure(self.column, self.device, task)
    }
}
