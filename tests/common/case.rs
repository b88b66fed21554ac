//! A conformance case: read from its file, run on an engine, compared by the rule of the cases' README.

use super::attributes;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use wgpu_norm::plan::Extra;
use wgpu_norm::{Data, Engine, Gradients, Parameters, RunningStatistics, Tensor, Upstream};

/// What a case may store, beside what the operation learns and the gradients of that.
const INPUTS: [&str; 8] =
    ["input", "labels", "running_mean", "running_var", "num_batches_tracked", "grad_output", "grad_mean", "grad_std"];
const OUTPUTS: [&str; 6] = [
    "expected.output",
    "expected.mean",
    "expected.std",
    "expected.running_mean",
    "expected.running_var",
    "expected.num_batches_tracked",
];

/// A stored tensor: integers are counters and labels, everything else is floating-point.
#[derive(Debug, Clone)]
enum Stored {
    Float(Tensor),
    Integers(Vec<i64>),
}

/// What an operation calls weight and bias.
fn parameter_names(op: &str) -> [&'static str; 2] {
    if op == "moment_shortcut" { ["gamma", "beta"] } else { ["weight", "bias"] }
}

/// Everything that an operation may learn.
fn learned(op: &str) -> impl Iterator<Item = &'static str> {
    parameter_names(op).into_iter().chain(Extra::<()>::NAMES)
}

/// One file of `tests/cases`.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) path: PathBuf,
    pub(crate) op: String,
    attrs: Map<String, Value>,
    rtol: f64,
    atol: f64,
    names: Vec<String>,
    tensors: BTreeMap<String, Stored>,
}

impl Case {
    /// Reads a case. The values of one that is not runnable are left in the file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| error.to_string())?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| error.to_string())?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let mut case = Self {
            path: path.to_owned(),
            op: entry(&metadata, "op")?.to_owned(),
            attrs: serde_json::from_str(entry(&metadata, "attrs")?).map_err(|error| error.to_string())?,
            rtol: tolerance(&metadata, "rtol")?,
            atol: tolerance(&metadata, "atol")?,
            names: file.names().into_iter().map(str::to_owned).collect(),
            tensors: BTreeMap::new(),
        };
        if case.is_implemented() {
            for (name, view) in file.tensors() {
                let stored = stored(&view).map_err(|error| format!("{name}: {error}"))?;
                case.tensors.insert(name, stored);
            }
        }
        Ok(case)
    }

    /// Whether the library has the operation.
    pub(crate) fn is_implemented(&self) -> bool {
        attributes::IMPLEMENTED.contains(&self.op.as_str())
    }

    pub(crate) fn asks_for_gradients(&self) -> bool {
        self.names.iter().any(|name| name == "grad_output")
    }

    fn float(&self, name: &str) -> Option<&Tensor> {
        match self.tensors.get(name) {
            Some(Stored::Float(tensor)) => Some(tensor),
            _ => None,
        }
    }

    fn counter(&self, name: &str) -> Option<u64> {
        match self.tensors.get(name) {
            Some(Stored::Integers(values)) => values.first().and_then(|&count| u64::try_from(count).ok()),
            _ => None,
        }
    }

    fn labels(&self) -> Option<&[i64]> {
        match self.tensors.get("labels") {
            Some(Stored::Integers(values)) => Some(values),
            _ => None,
        }
    }

    fn extra(&self) -> Extra<Option<&Tensor>> {
        Extra::from(Extra::<()>::NAMES.map(|name| self.float(name)))
    }

    /// The running estimates that the case hands in.
    fn running(&self) -> Option<RunningStatistics> {
        let [mean, var] = ["running_mean", "running_var"].map(|name| Some(self.float(name)?.data().to_f32()));
        Some(RunningStatistics { mean: mean?, var: var?, num_batches_tracked: self.counter("num_batches_tracked") })
    }

    /// What the state has to be afterwards: what the case expects of it, or what it was.
    fn state(&self, name: &str) -> Option<&Tensor> {
        self.float(&format!("expected.{name}")).or_else(|| self.float(name))
    }

    fn is_well_formed(&self) -> Result<(), String> {
        let is_learned = |name: &str| learned(&self.op).any(|own| own == name);
        let is_gradient =
            |name: &str| name.strip_prefix("expected.grad_").is_some_and(|of| of == "input" || is_learned(of));
        let is_output =
            |name: &str| if self.asks_for_gradients() { is_gradient(name) } else { OUTPUTS.contains(&name) };
        let unknown = |name: &&String| !INPUTS.contains(&name.as_str()) && !is_learned(name) && !is_output(name);
        if let Some(name) = self.names.iter().find(unknown) {
            return Err(format!("{name}: no tensor of {}", self.op));
        }
        let both = self.float("running_mean").is_some() == self.float("running_var").is_some();
        if both { Ok(()) } else { Err("one running estimate without the other".into()) }
    }
}

/// Runs a case; returns the worst error over its tolerance, or says what does not match.
pub(crate) fn run_case(engine: &Engine, case: &Case) -> Result<f64, String> {
    case.is_well_formed()?;
    let norm = attributes::norm(&case.op, &case.attrs)?;
    let input = case.float("input").ok_or("input: missing")?;
    let mut running = case.running();
    let mut parameters = Parameters {
        weight: case.float(parameter_names(&case.op)[0]),
        bias: case.float(parameter_names(&case.op)[1]),
        running: running.as_mut(),
        extra: case.extra(),
        labels: case.labels(),
        ..Parameters::default()
    };
    if let Some(output) = case.float("grad_output") {
        let upstream = Upstream { output, sum: None, mean: case.float("grad_mean"), std: case.float("grad_std") };
        let forward = engine.forward_saving(&*norm, input, &mut parameters).map_err(|error| error.to_string())?;
        let gradients = engine
            .backward(&*norm, input, upstream, &forward.statistics, &parameters, None)
            .map_err(|error| error.to_string())?;
        return gradients_error(case, &gradients);
    }
    let want = case.float("expected.output").ok_or("expected.output: missing")?;
    let output = engine.forward(&*norm, input, &mut parameters).map_err(|error| error.to_string())?;
    if (output.shape(), output.dtype()) != (want.shape(), want.dtype()) {
        return Err(format!("output: {:?} instead of {:?}", output.spec(), want.spec()));
    }
    let worst = worst(case, "output", &output.data().to_f64(), &want.data().to_f64())?;
    Ok(worst.max(state_error(case, running.as_ref())?).max(moments_error(engine, case)?))
}

/// The worst error of mean and deviation, where the case expects them.
fn moments_error(engine: &Engine, case: &Case) -> Result<f64, String> {
    let (Some(mean), Some(std)) = (case.float("expected.mean"), case.float("expected.std")) else { return Ok(0.0) };
    let input = case.float("input").ok_or("input: missing")?;
    let norm = attributes::positional_norm(&case.attrs)?;
    let forward = engine.forward_saving(&norm, input, &mut Parameters::default()).map_err(|e| e.to_string())?;
    let got = norm.moments(input, &forward.statistics).map_err(|error| error.to_string())?;
    let mut largest = 0f64;
    for (name, got, want) in [("mean", got.0, mean), ("std", got.1, std)] {
        if (got.shape(), got.dtype()) != (want.shape(), want.dtype()) {
            return Err(format!("{name}: {:?} instead of {:?}", got.spec(), want.spec()));
        }
        largest = largest.max(worst(case, name, &got.data().to_f64(), &want.data().to_f64())?);
    }
    Ok(largest)
}

/// The worst error of the gradients that the case expects.
fn gradients_error(case: &Case, gradients: &Gradients) -> Result<f64, String> {
    let mut largest = 0f64;
    let of_parameters = parameter_names(&case.op).into_iter().zip([&gradients.weight, &gradients.bias]);
    let all = std::iter::once(("input", &gradients.input)).chain(of_parameters);
    for (name, got) in all.chain(gradients.extra.as_ref().named()) {
        let name = &format!("expected.grad_{name}");
        let Some(want) = case.float(name) else { continue };
        let got = got.as_ref().ok_or_else(|| format!("{name}: expected, but there is none"))?;
        if (got.shape(), got.dtype()) != (want.shape(), want.dtype()) {
            return Err(format!("{name}: {:?} instead of {:?}", got.spec(), want.spec()));
        }
        largest = largest.max(worst(case, name, &got.data().to_f64(), &want.data().to_f64())?);
    }
    Ok(largest)
}

/// The worst error of the running estimates; the counter has to be exact.
fn state_error(case: &Case, running: Option<&RunningStatistics>) -> Result<f64, String> {
    let mut largest = 0f64;
    for (name, got) in [("running_mean", running.map(|r| &r.mean)), ("running_var", running.map(|r| &r.var))] {
        match (got, case.state(name)) {
            (None, None) => {}
            (Some(got), Some(want)) => {
                let got: Vec<f64> = got.iter().map(|&x| f64::from(x)).collect();
                largest = largest.max(worst(case, name, &got, &want.data().to_f64())?);
            }
            (got, want) => return Err(format!("{name}: {got:?} instead of {want:?}")),
        }
    }
    let want = case.counter("expected.num_batches_tracked").or_else(|| case.counter("num_batches_tracked"));
    let got = running.and_then(|r| r.num_batches_tracked);
    if got == want { Ok(largest) } else { Err(format!("num_batches_tracked: {got:?} instead of {want:?}")) }
}

fn worst(case: &Case, name: &str, got: &[f64], want: &[f64]) -> Result<f64, String> {
    if got.len() != want.len() {
        return Err(format!("{name}: {} values instead of {}", got.len(), want.len()));
    }
    let mut worst = 0f64;
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let error = over_tolerance(got, want, case.rtol, case.atol);
        if error > 1.0 {
            return Err(format!("{name}[{i}]: {got:e} instead of {want:e}, {error:.2} times the tolerance"));
        }
        worst = worst.max(error);
    }
    Ok(worst)
}

/// `abs(got - want) / (atol + rtol * abs(want))`; a NaN matches only a NaN, an infinity only the same one.
pub(crate) fn over_tolerance(got: f64, want: f64, rtol: f64, atol: f64) -> f64 {
    let matches = got == want || (got.is_nan() && want.is_nan());
    match (matches, got.is_finite() && want.is_finite()) {
        (true, _) => 0.0,
        (false, true) => (got - want).abs() / (atol + rtol * want.abs()),
        (false, false) => f64::INFINITY,
    }
}

fn entry<'a>(metadata: &'a HashMap<String, String>, key: &str) -> Result<&'a str, String> {
    metadata.get(key).map(String::as_str).ok_or_else(|| format!("metadata {key}: missing"))
}

/// A NaN or negative tolerance would let everything or nothing pass.
fn tolerance(metadata: &HashMap<String, String>, key: &str) -> Result<f64, String> {
    let number = entry(metadata, key)?.parse().ok().filter(|x: &f64| x.is_finite() && *x >= 0.0);
    number.ok_or_else(|| format!("metadata {key}: no tolerance"))
}

fn stored(view: &TensorView<'_>) -> Result<Stored, String> {
    let data = match view.dtype() {
        Dtype::F32 => Data::F32(little_endian(view.data(), f32::from_le_bytes)),
        Dtype::F16 => Data::F16(little_endian(view.data(), f16::from_le_bytes)),
        Dtype::BF16 => Data::Bf16(little_endian(view.data(), bf16::from_le_bytes)),
        Dtype::I64 => return Ok(Stored::Integers(little_endian(view.data(), i64::from_le_bytes))),
        other => return Err(format!("a type that no case has, {other:?}")),
    };
    Tensor::new(view.shape(), data).map(Stored::Float).map_err(|error| error.to_string())
}

fn little_endian<T, const N: usize>(bytes: &[u8], read: fn([u8; N]) -> T) -> Vec<T> {
    bytes.chunks_exact(N).map(|chunk| read(chunk.try_into().expect("a chunk of N bytes"))).collect()
}
