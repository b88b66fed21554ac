//! Conformance cases: one `.safetensors` file each, with its operation and what it must produce.

use super::attributes::Attributes;
use super::compare::{Ulps, distance, share};
use super::learned::{self, Learned};
use super::memory;
use super::ranks::{self, Ranks};
use super::safetensors_file::TensorFile;
use serde_json::Value;
use std::ops::Range;
use wgpu_norm::collective::Group;
use wgpu_norm::norm::Norm;
use wgpu_norm::plan::Extra;
use wgpu_norm::{Data, Dtype, Engine, Gradients, Parameters, RunningStatistics, Tensor, Upstream, Wanted};

/// What stands before the name of something that has to come out.
const EXPECTED: &str = "expected.";

/// A case, read and ready to run.
pub(crate) struct Case {
    file: TensorFile,
    attributes: Attributes,
    rtol: f64,
    atol: f64,
}

/// What came of comparing a case's results with what it expects.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(super) ulps: Ulps,
    /// The worst error over its tolerance; none where nothing was compared.
    pub(super) worst_over_tolerance: Option<f64>,
    /// What is to be told of it, where it is more than tolerated.
    told: Option<String>,
}

impl Case {
    /// Reads a case.
    #[cfg(not(target_family = "wasm"))]
    pub(super) fn read(path: &std::path::Path) -> Result<Self, String> {
        Self::of(TensorFile::open(path)?)
    }

    /// A case that was read already.
    #[cfg(target_family = "wasm")]
    pub(crate) fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, String> {
        Self::of(TensorFile::from_bytes(name, bytes)?)
    }

    fn of(file: TensorFile) -> Result<Self, String> {
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
        let has_ranks = self.attributes.world_size()?.is_some();
        let has_moments = self.attributes.positional_norm()?.is_some();
        let learned = self.attributes.parameter_names();
        let is_learned = |name: &str| learned.contains(&name) || Extra::<()>::NAMES.contains(&name);
        let is_input = |name: &str| match name {
            "input" | "grad_output" => true,
            "grad_mean" | "grad_std" => has_moments && self.is_backward(),
            "splits" => has_ranks,
            _ => is_learned(name) || learned::STATE.contains(&name),
        };
        let outputs = ["output", "running_mean", "running_var", "num_batches_tracked"];
        let is_result = |name: &str| outputs.contains(&name) || has_moments && ["mean", "std"].contains(&name);
        let is_gradient = |name: &str| name.strip_prefix("grad_").is_some_and(|of| of == "input" || is_learned(of));
        let is_output = |name: &str| if self.is_backward() { is_gradient(name) } else { is_result(name) };
        let mut expects = false;
        for name in self.file.names() {
            let known = match name.strip_prefix(EXPECTED) {
                Some(output) => {
                    expects = true;
                    is_output(output)
                }
                None => is_input(&name),
            };
            if !known {
                return Err(format!("tensor {name}: not known to the operation"));
            }
        }
        if expects { Ok(()) } else { Err("the case expects nothing".into()) }
    }

    pub(super) fn is_backward(&self) -> bool {
        self.file.names().iter().any(|name| name == "grad_output")
    }

    /// The operation's name.
    pub(crate) fn operation(&self) -> &str {
        self.attributes.operation()
    }

    /// The type that the input is stored in, where there is one.
    pub(crate) fn dtype(&self) -> Option<Dtype> {
        self.file.dtype("input")
    }

    /// Runs the case; returns the worst error over its tolerance, or what does not match. Either way `found` has the errors
    /// of what was compared.
    pub(crate) async fn run(&self, engine: &Engine, found: &mut Found) -> Result<f64, String> {
        let result = self.compare_all(engine, found).await;
        match (result, &found.told) {
            (Ok(()), None) => Ok(found.worst_over_tolerance.unwrap_or_default()),
            (Ok(()), Some(told)) => Err(told.clone()),
            (Err(reason), None) => Err(reason),
            (Err(reason), Some(told)) => Err(format!("{reason}; {told}")),
        }
    }

    async fn compare_all(&self, engine: &Engine, found: &mut Found) -> Result<(), String> {
        memory::check(self.file.bytes_of("input")?.unwrap_or(0))?;
        let input = self.file.tensor("input")?.ok_or("tensor input: missing")?;
        let mut learned = Learned::read(&self.file, "", &self.attributes)?;
        let fallback = learned.weight.as_ref().map_or(&[][..], Tensor::shape);
        let norm = self.attributes.norm(fallback)?;
        if let Some(ranks) = Ranks::read(&self.file, &self.attributes, &input)? {
            return self.compare_ranks(engine, &ranks, &*norm, &input, &learned, found).await;
        }
        let mut running = learned.running.take();
        let mut parameters = learned.with(running.as_mut());
        let text = |error: wgpu_norm::Error| error.to_string();
        let Some(grad_output) = self.file.tensor("grad_output")? else {
            let output = engine.forward_async(&*norm, &input, &mut parameters).await.map_err(text)?;
            self.compare(&output, running.as_ref(), found)?;
            return self.compare_moments(engine, &input, found).await;
        };
        let (of_mean, of_std) = (self.file.tensor("grad_mean")?, self.file.tensor("grad_std")?);
        let upstream = Upstream { output: &grad_output, sum: None, mean: of_mean.as_ref(), std: of_std.as_ref() };
        let forward = engine.forward_saving_async(&*norm, &input, &mut parameters).await.map_err(text)?;
        let statistics = &forward.statistics;
        let gradients = engine.backward_async(&*norm, &input, upstream, statistics, &parameters, self.wanted());
        self.compare_gradients(&gradients.await.map_err(text)?, found)
    }

    /// Compares all ranks' results together.
    async fn compare_ranks(
        &self,
        engine: &Engine,
        ranks: &Ranks,
        norm: &dyn Norm,
        input: &Tensor,
        learned: &Learned,
        found: &mut Found,
    ) -> Result<(), String> {
        let grad_output = self.file.tensor("grad_output")?;
        if let Some(other) = grad_output.as_ref().filter(|gradient| gradient.shape() != input.shape()) {
            return Err(format!("grad_output: expected shape {:?}, got {:?}", input.shape(), other.shape()));
        }
        let text = |error: wgpu_norm::Error| error.to_string();
        // Gradients have their parameter's type, and are rounded to it once they are added up.
        let [weight, bias] = [ranks::widened(learned.weight.as_ref())?, ranks::widened(learned.bias.as_ref())?];
        let rank = async |group: &Group, own: Range<usize>| {
            let mut running = learned.running.clone();
            let shard = ranks::samples(input, own.clone())?;
            let learned = learned.with(running.as_mut());
            let (weight, bias) = (weight.as_ref(), bias.as_ref());
            let mut parameters = Parameters { group: Some(group), weight, bias, ..learned };
            let forward = engine.forward_saving_async(norm, &shard, &mut parameters).await.map_err(text)?;
            let mut gradients = None;
            if let Some(grad_output) = &grad_output {
                let upstream = ranks::samples(grad_output, own)?;
                let kept = &forward.statistics;
                let own = engine.backward_async(norm, &shard, &upstream, kept, &parameters, self.wanted());
                gradients = Some(own.await.map_err(text)?);
            }
            Ok((forward.output, running, gradients))
        };
        let results = ranks.each(rank).await?;
        let gradients: Vec<&Gradients> = results.iter().filter_map(|(_, _, gradients)| gradients.as_ref()).collect();
        if !gradients.is_empty() {
            let of = |parameter: fn(&Gradients) -> Option<&Tensor>| {
                gradients.iter().copied().filter_map(parameter).collect::<Vec<_>>()
            };
            let of_input = of(|gradients| gradients.input.as_ref());
            let together = Gradients {
                input: if of_input.is_empty() { None } else { Some(ranks::joined(input, &of_input)?) },
                weight: ranks::summed(&of(|gradients| gradients.weight.as_ref()), learned.weight.as_ref())?,
                bias: ranks::summed(&of(|gradients| gradients.bias.as_ref()), learned.bias.as_ref())?,
                extra: Extra::default(),
            };
            return self.compare_gradients(&together, found);
        }
        let running = results.first().and_then(|(_, running, _)| running.as_ref());
        if let Some(rank) = results.iter().position(|(_, own, _)| bits_of(own.as_ref()) != bits_of(running)) {
            return Err(format!("running estimates: those of rank {rank} are not those of rank 0"));
        }
        let outputs: Vec<&Tensor> = results.iter().map(|(output, _, _)| output).collect();
        self.compare(&ranks::joined(input, &outputs)?, running, found)
    }

    fn compare_gradients(&self, gradients: &Gradients, found: &mut Found) -> Result<(), String> {
        let [weight, bias] = self.attributes.parameter_names();
        let all = [("input", &gradients.input), (weight, &gradients.weight), (bias, &gradients.bias)];
        for (name, got) in all.into_iter().chain(gradients.extra.as_ref().named()) {
            let name = format!("grad_{name}");
            match got {
                Some(got) => self.compare_tensor(&name, got, found)?,
                None if self.expects(&name) => return Err(format!("{name}: expected, but there is none")),
                None => {}
            }
        }
        Ok(())
    }

    fn expects(&self, name: &str) -> bool {
        self.file.names().contains(&format!("{EXPECTED}{name}"))
    }

    /// The gradients that the case expects.
    fn wanted(&self) -> Wanted {
        let expects = |name: &str| self.expects(&format!("grad_{name}"));
        let [weight, bias] = self.attributes.parameter_names().map(expects);
        Wanted { input: expects("input"), weight, bias, extra: Extra::<()>::NAMES.into_iter().any(expects) }
    }

    /// Compares mean and deviation, where the operation gives them.
    async fn compare_moments(&self, engine: &Engine, input: &Tensor, found: &mut Found) -> Result<(), String> {
        let Some(norm) = self.attributes.positional_norm()? else { return Ok(()) };
        let text = |error: wgpu_norm::Error| error.to_string();
        let forward = engine.forward_saving_async(&norm, input, &mut Parameters::default()).await.map_err(text)?;
        let (mean, std) = norm.moments(input, &forward.statistics).map_err(text)?;
        self.compare_tensor("mean", &mean, found)?;
        self.compare_tensor("std", &std, found)
    }

    /// Compares a tensor that the case may expect.
    fn compare_tensor(&self, name: &str, got: &Tensor, found: &mut Found) -> Result<(), String> {
        let Some(want) = self.file.tensor(&format!("{EXPECTED}{name}"))? else { return Ok(()) };
        if want.shape() != got.shape() {
            return Err(format!("{name}: shape {:?}, expected {:?}", got.shape(), want.shape()));
        }
        if want.dtype() != got.dtype() {
            return Err(format!("{name}: {}, expected {}", got.dtype(), want.dtype()));
        }
        self.compare_values(name, &got.data().to_f64(), want.data(), found)
    }

    fn compare(&self, output: &Tensor, running: Option<&RunningStatistics>, found: &mut Found) -> Result<(), String> {
        self.compare_tensor("output", output, found)?;
        for (name, got) in [("running_mean", running.map(|r| &r.mean)), ("running_var", running.map(|r| &r.var))] {
            if let Some(want) = self.file.tensor(&format!("{EXPECTED}{name}"))? {
                let got = got.ok_or_else(|| format!("{name}: expected, but there is none"))?;
                if want.shape() != [got.len()] {
                    return Err(format!("{name}: shape [{}], expected {:?}", got.len(), want.shape()));
                }
                let got: Vec<f64> = got.iter().map(|&x| f64::from(x)).collect();
                self.compare_values(name, &got, want.data(), found)?;
            }
        }
        if let Some(want) = self.file.integer("expected.num_batches_tracked")? {
            let got = running.and_then(|r| r.num_batches_tracked);
            if got.map(i128::from) != Some(i128::from(want)) {
                return Err(format!("num_batches_tracked: got {got:?}, expected {want}"));
            }
        }
        Ok(())
    }

    fn compare_values(&self, name: &str, got: &[f64], want: &Data, found: &mut Found) -> Result<(), String> {
        let (dtype, want) = (want.dtype(), want.to_f64());
        if got.len() != want.len() {
            return Err(format!("{name}: {} values, expected {}", got.len(), want.len()));
        }
        found.ulps.add(dtype, got, &want);
        let (mut worst, mut outside) = ((0f64, 0), 0usize);
        for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
            let over = share(distance(got, want), self.atol + self.rtol * want.abs());
            outside += usize::from(over > 1.0);
            worst = if over > worst.0 { (over, i) } else { worst };
        }
        let (over, i) = worst;
        let told = (outside > 0).then(|| {
            let (got, want, count) = (got[i], want[i], want.len());
            format!(
                "{name}[{i}]: got {got:e}, expected {want:e}, {over:.2} times the tolerance; {outside} of {count} values outside"
            )
        });
        found.add(over, told);
        Ok(())
    }
}

impl Found {
    /// Takes in the worst error of a tensor, and what is to be told of it.
    fn add(&mut self, over: f64, told: Option<String>) {
        if self.worst_over_tolerance.is_none_or(|worst| over > worst) {
            (self.worst_over_tolerance, self.told) = (Some(over), told);
        }
    }
}

/// Running estimates to the last bit, so that a NaN is what it is.
fn bits_of(running: Option<&RunningStatistics>) -> Option<(Vec<u32>, Option<u64>)> {
    let RunningStatistics { mean, var, num_batches_tracked, .. } = running?;
    Some((mean.iter().chain(var).map(|x| x.to_bits()).collect(), *num_batches_tracked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_estimates_are_the_same_to_the_bit() {
        let of = |mean: f32, count| RunningStatistics { mean: vec![mean], var: vec![1.0], num_batches_tracked: count };
        let is_same = |one, other| bits_of(Some(&one)) == bits_of(Some(&other));
        assert!(is_same(of(f32::NAN, Some(1)), of(f32::NAN, Some(1))), "a NaN is what it is");
        assert!(!is_same(of(0.0, Some(1)), of(f32::NAN, Some(1))), "and nothing else");
        assert!(!is_same(of(0.0, Some(1)), of(0.0, Some(2))), "another count");
        assert!(bits_of(Some(&of(0.0, None))) != bits_of(None), "none at all");
    }
}
