//! Conformance cases: one `.safetensors` file each, with its operation and what it must produce.

use super::attributes::Attributes;
use super::compare::{distance, share};
use super::memory;
use super::safetensors_file::TensorFile;
use serde_json::Value;
use std::path::Path;
use wgpu_norm::{Engine, Parameters, RunningStatistics, Tensor, Wanted};

/// What a case may expect of the five operations.
const EXPECTED: &str = "expected.";

/// A case, read and ready to run.
pub(super) struct Case {
    file: TensorFile,
    attributes: Attributes,
    rtol: f64,
    atol: f64,
}

impl Case {
    /// Reads a case.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let file = TensorFile::open(path)?;
        let entry = |key: &str| file.metadata().get(key).cloned().ok_or_else(|| format!("metadata {key}: missing"));
        let tolerance = |key: &str| -> Result<f64, String> {
            let text = entry(key)?;
            let parsed = text.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0);
            parsed.ok_or_else(|| format!("metadata {key}: expected a finite number from 0 on, got {text:?}"))
        };
        let values = match serde_json::from_str(&entry("attrs")?) {
            Ok(Value::Object(values)) => values,
            Ok(other) => return Err(format!("metadata attrs: expected an object, got {other}")),
            Err(error) => return Err(format!("metadata attrs: {error}")),
        };
        let attributes = Attributes::new(&entry("op")?, values)?;
        let (rtol, atol) = (tolerance("rtol")?, tolerance("atol")?);
        let case = Self { attributes, rtol, atol, file };
        case.check_names()?;
        Ok(case)
    }

    /// Every tensor of the file has to mean something to the operation.
    fn check_names(&self) -> Result<(), String> {
        let inputs = ["input", "weight", "bias", "running_mean", "running_var", "num_batches_tracked", "grad_output"];
        let forward = ["output", "running_mean", "running_var", "num_batches_tracked"];
        let outputs: &[&str] = if self.is_backward() { &["grad_input", "grad_weight", "grad_bias"] } else { &forward };
        let mut expects = false;
        for name in self.file.names() {
            let known = match name.strip_prefix(EXPECTED) {
                Some(output) => {
                    expects = true;
                    outputs.contains(&output)
                }
                None => inputs.contains(&name.as_str()),
            };
            if !known {
                return Err(format!("tensor {name}: not known to the operation"));
            }
        }
        if expects { Ok(()) } else { Err("the case expects nothing".into()) }
    }

    fn is_backward(&self) -> bool {
        self.file.names().iter().any(|name| name == "grad_output")
    }

    /// Runs the case; returns the worst error over its tolerance, or what does not match.
    pub(super) fn run(&self, engine: &Engine) -> Result<f64, String> {
        memory::check(self.file.bytes_of("input")?.unwrap_or(0))?;
        let input = self.file.tensor("input")?.ok_or("tensor input: missing")?;
        let (weight, bias) = (self.file.tensor("weight")?, self.file.tensor("bias")?);
        let mut running = if self.attributes.tracks()? { self.file.running("")? } else { None };
        let fallback = weight.as_ref().map_or(&[][..], Tensor::shape);
        let norm = self.attributes.norm(fallback)?;
        let mut parameters = Parameters {
            weight: weight.as_ref(),
            bias: bias.as_ref(),
            running: running.as_mut(),
            ..Parameters::default()
        };
        let text = |error: wgpu_norm::Error| error.to_string();
        let Some(grad_output) = self.file.tensor("grad_output")? else {
            let output = engine.forward(&*norm, &input, &mut parameters).map_err(text)?;
            return self.compare(&output, running.as_ref());
        };
        let forward = engine.forward_saving(&*norm, &input, &mut parameters).map_err(text)?;
        let expects = |name: &str| self.file.names().iter().any(|n| n.strip_prefix(EXPECTED) == Some(name));
        let wanted =
            Wanted { input: expects("grad_input"), weight: expects("grad_weight"), bias: expects("grad_bias") };
        let statistics = &forward.statistics;
        let gradients = engine.backward(&*norm, &input, &grad_output, statistics, &parameters, wanted).map_err(text)?;
        let mut worst = 0f64;
        for (name, got) in
            [("grad_input", gradients.input), ("grad_weight", gradients.weight), ("grad_bias", gradients.bias)]
        {
            if let Some(got) = got {
                worst = worst.max(self.compare_tensor(name, &got)?);
            }
        }
        Ok(worst)
    }

    /// The worst error of a tensor that the case may expect.
    fn compare_tensor(&self, name: &str, got: &Tensor) -> Result<f64, String> {
        let Some(want) = self.file.tensor(&format!("{EXPECTED}{name}"))? else { return Ok(0.0) };
        if want.shape() != got.shape() {
            return Err(format!("{name}: shape {:?}, expected {:?}", got.shape(), want.shape()));
        }
        if want.dtype() != got.dtype() {
            return Err(format!("{name}: {}, expected {}", got.dtype(), want.dtype()));
        }
        self.worst(name, &got.data().to_f64(), &want.data().to_f64())
    }

    fn compare(&self, output: &Tensor, running: Option<&RunningStatistics>) -> Result<f64, String> {
        let mut worst = self.compare_tensor("output", output)?;
        for (name, got) in [("running_mean", running.map(|r| &r.mean)), ("running_var", running.map(|r| &r.var))] {
            if let Some(want) = self.file.tensor(&format!("{EXPECTED}{name}"))? {
                let got = got.ok_or_else(|| format!("{name}: expected, but there is none"))?;
                if want.shape() != [got.len()] {
                    return Err(format!("{name}: shape [{}], expected {:?}", got.len(), want.shape()));
                }
                let got: Vec<f64> = got.iter().map(|&x| f64::from(x)).collect();
                worst = worst.max(self.worst(name, &got, &want.data().to_f64())?);
            }
        }
        if let Some(want) = self.file.integer("expected.num_batches_tracked")? {
            let got = running.and_then(|r| r.num_batches_tracked);
            if got.map(i128::from) != Some(i128::from(want)) {
                return Err(format!("num_batches_tracked: got {got:?}, expected {want}"));
            }
        }
        Ok(worst)
    }

    /// The worst error of a tensor over the tolerance.
    fn worst(&self, name: &str, got: &[f64], want: &[f64]) -> Result<f64, String> {
        if got.len() != want.len() {
            return Err(format!("{name}: {} values, expected {}", got.len(), want.len()));
        }
        let (mut worst, mut outside) = ((0f64, 0), 0usize);
        for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
            let over = share(distance(got, want), self.atol + self.rtol * want.abs());
            outside += usize::from(over > 1.0);
            worst = if over > worst.0 { (over, i) } else { worst };
        }
        let (over, i) = worst;
        if outside == 0 {
            return Ok(over);
        }
        let (got, want, count) = (got[i], want[i], want.len());
        Err(format!(
            "{name}[{i}]: got {got:e}, expected {want:e}, {over:.2} times the tolerance; {outside} of {count} values outside"
        ))
    }
}
