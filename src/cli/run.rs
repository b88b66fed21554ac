//! `wgpu-norm run`: normalizes the tensor in a file.

use super::attributes::{Attributes, parse_setting};
use super::compare::Errors;
use super::features::Disabled;
use super::learned::{Learned, NAMES};
use super::safetensors_file::{TensorFile, map};
use super::write::{Results, Target};
use super::{Failure, memory, npy, open, print, print_json, progress, say_error};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;
use wgpu_norm::{Choice, Data, Engine, RunningStatistics, Tensor};

/// What `run` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wgpu-norm run layer_norm hidden.npy -o normalized.npy
  wgpu-norm run rms_norm hidden.npy --params model.safetensors --prefix model.norm -o normalized.npy --verify
  wgpu-norm run group_norm image.safetensors --tensor image --set num_groups=32 -o out.safetensors
  wgpu-norm run layer_norm image.npy --set axes=[1] --adapter cpu")]
pub(super) struct Arguments {
    /// The operation: layer_norm, rms_norm, group_norm, instance_norm, batch_norm, batch_group_norm,
    /// conditional_batch_norm, sandwich_batch_norm, switchable_norm, positional_norm, moment_shortcut or
    /// filter_response_norm.
    op: String,
    /// The file with the tensor, .npy or .safetensors.
    input: PathBuf,
    /// Where the result goes, .npy or .safetensors; without it only its statistics are printed.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Where to run: auto, cpu, reference, or part of an adapter's name.
    #[arg(long, default_value = "auto")]
    adapter: String,
    #[command(flatten)]
    disabled: Disabled,
    /// A .safetensors file with what the operation learned, by PyTorch's names (weight, bias, running_mean,
    /// running_var, num_batches_tracked, class_weight, class_bias, tau, eps_l, mean_weight, var_weight), and labels.
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,
    /// What stands before these names in the file, for one layer of a model.
    #[arg(long, requires = "params")]
    prefix: Option<String>,
    /// An attribute in PyTorch's spelling, its value as JSON; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Which tensor of a .safetensors input.
    #[arg(long, value_name = "NAME")]
    tensor: Option<String>,
    /// Compare with the f64 reference and print the errors.
    #[arg(long)]
    verify: bool,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Everything that the operation is applied to.
struct Work {
    attributes: Attributes,
    input: Tensor,
    learned: Learned,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let bar = progress::bar(4);
    bar.set_message("reading");
    let mut work = read(arguments).map_err(Failure::Unusable)?;
    let target = arguments.output.as_ref().map(|path| Target::new(path, work.input.dtype())).transpose();
    let target = target.map_err(Failure::Unusable)?;
    bar.inc(1);

    let engine = engine(&arguments.adapter, &arguments.disabled)?;
    if arguments.verify || engine.name() == Choice::Reference.name() {
        memory::check_reference(work.input.data().len()).map_err(Failure::Unusable)?;
    }
    bar.set_message("normalizing");
    let before = work.learned.running.clone();
    let started = Instant::now();
    let (output, moments) = work.forward(&engine)?;
    let seconds = started.elapsed().as_secs_f64();
    bar.inc(1);

    bar.set_message("verifying");
    let errors = if arguments.verify { Some(verify(&work, before, &output)?) } else { None };
    bar.inc(1);
    bar.set_message("writing");
    let updated = work.learned.running.as_ref().filter(|_| work.updates().unwrap_or(false));
    let matches = errors.as_ref().is_none_or(Errors::within_tolerance);
    if let Some(target) = target.as_ref().filter(|_| matches) {
        let results = Results { output: &output, running: updated, moments: moments.as_ref() };
        target.write(&results).map_err(Failure::Unusable)?;
    }
    bar.finish_and_clear();
    let more =
        if updated.is_some() { Some("running estimates") } else { moments.as_ref().map(|_| "mean and deviation") };
    let lost = more.filter(|_| target.as_ref().is_some_and(|target| !target.holds_more()));
    report(arguments, &engine, &output, seconds, errors.as_ref(), updated, lost);
    if matches { Ok(()) } else { Err(Failure::Mismatch) }
}

/// The one engine that a name stands for.
fn engine(name: &str, disabled: &Disabled) -> Result<Engine, Failure> {
    let choices = pollster::block_on(Choice::named(name))?;
    match choices.as_slice() {
        [one] => open(one, disabled),
        several => {
            let names: Vec<String> = several.iter().map(Choice::name).collect();
            Err(Failure::Unusable(format!("--adapter {name}: expected one adapter, got {}", names.join(", "))))
        }
    }
}

impl Work {
    fn norm(&self) -> Result<Box<dyn wgpu_norm::norm::Norm>, Failure> {
        let shape = self.input.shape();
        let last = &shape[shape.len().saturating_sub(1)..];
        let fallback = self.learned.weight.as_ref().map_or(last, Tensor::shape);
        self.attributes.norm(fallback).map_err(Failure::Unusable)
    }

    /// The output, and mean and deviation where they are outputs too.
    fn forward(&mut self, engine: &Engine) -> Result<(Tensor, Option<(Tensor, Tensor)>), Failure> {
        if let Some(norm) = self.attributes.positional_norm().map_err(Failure::Unusable)? {
            let forward = engine.forward_saving(&norm, &self.input, &mut self.learned.with(None))?;
            let moments = norm.moments(&self.input, &forward.statistics)?;
            return Ok((forward.output, Some(moments)));
        }
        let norm = self.norm()?;
        let mut running = self.learned.running.take();
        let output = engine.forward(&*norm, &self.input, &mut self.learned.with(running.as_mut()))?;
        self.learned.running = running;
        Ok((output, None))
    }

    /// Whether the running estimates are updated rather than read.
    fn updates(&self) -> Result<bool, Failure> {
        let mut running = self.learned.running.clone();
        let parameters = self.learned.with(running.as_mut());
        let plan = self.norm()?.lower(&parameters.operands(&self.input))?;
        Ok(plan.running_update().is_some())
    }
}

fn verify(work: &Work, before: Option<RunningStatistics>, output: &Tensor) -> Result<Errors, Failure> {
    let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect();
    let mut running = before;
    let learned = &work.learned;
    let parameters = learned.with(running.as_mut());
    let plan = work.norm()?.lower(&parameters.operands(&work.input))?;
    let mut values = wgpu_norm::reference::Values {
        input: work.input.data().to_f64(),
        weight: learned.weight.as_ref().map(|w| w.data().to_f64()),
        bias: learned.bias.as_ref().map(|b| b.data().to_f64()),
        running_mean: running.as_ref().map(|r| wide(&r.mean)).unwrap_or_default(),
        running_var: running.as_ref().map(|r| wide(&r.var)).unwrap_or_default(),
        num_batches_tracked: running.as_ref().and_then(|r| r.num_batches_tracked).unwrap_or(0),
        residual: None,
        extra: learned.extra.as_ref().map(|tensor| tensor.as_ref().map(|tensor| tensor.data().to_f64())),
        labels: learned.labels.clone().unwrap_or_default(),
    };
    Ok(Errors::of(output.data(), &wgpu_norm::reference::execute(&plan, &mut values)?))
}

fn read(arguments: &Arguments) -> Result<Work, String> {
    let mut settings = Map::new();
    let own;
    let (input, file) = match arguments.input.extension().and_then(|e| e.to_str()) {
        Some("npy") => {
            if let Some(name) = &arguments.tensor {
                return Err(format!("--tensor {name}: a .npy file holds one tensor without a name"));
            }
            (read_npy(&arguments.input)?, None)
        }
        Some("safetensors") => {
            own = TensorFile::open(&arguments.input)?;
            settings = attributes_of_case(&own, &arguments.op)?;
            let name = input_name(&own, arguments)?;
            if let Some(bytes) = own.bytes_of(&name)? {
                memory::check(bytes)?;
            }
            let input = own.tensor(&name)?.ok_or_else(|| not_there(&own, &name))?;
            (input, Some(&own))
        }
        _ => {
            let path = arguments.input.display();
            return Err(format!("input: expected a name that ends in .npy or .safetensors, got {path}"));
        }
    };
    for setting in &arguments.set {
        let (key, value) = parse_setting(setting)?;
        settings.insert(key, value);
    }
    let attributes = Attributes::new(&arguments.op, settings)?;
    let other = arguments.params.as_deref().map(TensorFile::open).transpose()?;
    let prefix = other.as_ref().map(|file| prefix(arguments, file)).transpose()?.unwrap_or_default();
    let Some(parameters) = other.as_ref().or(file) else {
        return Ok(Work { attributes, input, learned: Learned::default() });
    };
    let mut learned = Learned::read(parameters, &prefix, &attributes)?;
    if let (None, Some(file)) = (&learned.labels, file) {
        // They belong to the samples, not to the layer.
        learned.labels = file.integers("labels")?;
    }
    Ok(Work { attributes, input, learned })
}

fn read_npy(path: &Path) -> Result<Tensor, String> {
    let bytes = map(path)?;
    memory::check(bytes.len() as u64)?;
    npy::read(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// A case file brings its attributes along; `--set` overrides them.
fn attributes_of_case(file: &TensorFile, op: &str) -> Result<Map<String, Value>, String> {
    let metadata = file.metadata();
    let own = metadata.get("op").is_some_and(|own| own == op);
    match metadata.get("attrs").filter(|_| own).map(|text| serde_json::from_str(text)) {
        None => Ok(Map::new()),
        Some(Ok(Value::Object(values))) => Ok(values),
        Some(Ok(other)) => Err(format!("metadata attrs: expected an object, got {other}")),
        Some(Err(error)) => Err(format!("metadata attrs: {error}")),
    }
}

/// The tensor to normalize: the one asked for, the one called `input`, or the only one that is no parameter.
fn input_name(file: &TensorFile, arguments: &Arguments) -> Result<String, String> {
    if let Some(name) = &arguments.tensor {
        return Ok(name.clone());
    }
    let names = file.names();
    if names.iter().any(|name| name == "input") {
        return Ok("input".into());
    }
    let candidates: Vec<&String> = names.iter().filter(|name| !NAMES.contains(&name.as_str())).collect();
    match candidates.as_slice() {
        [one] => Ok((*one).clone()),
        _ => Err(format!("--tensor: needed to choose one of {}", some(&names))),
    }
}

fn not_there(file: &TensorFile, name: &str) -> String {
    format!("--tensor {name}: expected one of {}", some(&file.names()))
}

/// The prefix with its dot. A layer without a single parameter under it is a mistyped one: to normalize without
/// weight and bias there is `run` without --params.
fn prefix(arguments: &Arguments, file: &TensorFile) -> Result<String, String> {
    let wanted = arguments.prefix.as_deref().unwrap_or_default();
    let dotted = if wanted.is_empty() || wanted.ends_with('.') { wanted.to_owned() } else { format!("{wanted}.") };
    let names = file.names();
    let holds = |name: &String| name.strip_prefix(&dotted).is_some_and(|rest| NAMES.contains(&rest));
    if names.iter().any(holds) {
        return Ok(dotted);
    }
    let layer =
        |name: &String| name.rsplit_once('.').filter(|(_, last)| NAMES.contains(last)).map(|(p, _)| p.to_owned());
    let mut near: Vec<String> = names.iter().filter_map(layer).collect();
    near.sort();
    near.dedup();
    near.sort_by_key(|name| std::cmp::Reverse(common(name, wanted)));
    let there = if near.is_empty() { "no layer".to_owned() } else { some(&near) };
    Err(match &arguments.prefix {
        Some(prefix) => format!("--prefix {prefix}: no weight, bias or running estimate under it; there is {there}"),
        None => format!("--params: no weight, bias or running estimate without a --prefix; there is {there}"),
    })
}

/// How many characters two names begin with alike.
fn common(one: &str, other: &str) -> usize {
    one.chars().zip(other.chars()).take_while(|(a, b)| a == b).count()
}

/// The first names of a list.
fn some(names: &[String]) -> String {
    let shown = names.iter().take(8).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > 8 { format!("{shown}, and {} more", names.len() - 8) } else { shown }
}

/// Mean, least and greatest of the finite values; nothing is copied, the tensor may be most of the memory.
fn summary(output: &Tensor) -> (f64, f64, f64) {
    let (mut count, mut sum, mut least, mut greatest) = (0u64, 0f64, f64::INFINITY, f64::NEG_INFINITY);
    let mut add = |x: f64| {
        if x.is_finite() {
            (count, sum, least, greatest) = (count + 1, sum + x, least.min(x), greatest.max(x));
        }
    };
    match output.data() {
        Data::F32(values) => values.iter().for_each(|&x| add(x.into())),
        Data::F16(values) => values.iter().for_each(|&x| add(x.into())),
        Data::Bf16(values) => values.iter().for_each(|&x| add(x.into())),
        other => other.to_f64().into_iter().for_each(add),
    }
    #[expect(clippy::cast_precision_loss, reason = "no tensor has 2^53 elements")]
    let mean = sum / count as f64;
    if count == 0 { (0.0, 0.0, 0.0) } else { (mean, least, greatest) }
}

fn report(
    arguments: &Arguments,
    engine: &Engine,
    output: &Tensor,
    seconds: f64,
    errors: Option<&Errors>,
    updated: Option<&RunningStatistics>,
    lost: Option<&str>,
) {
    let (mean, least, greatest) = summary(output);
    let matches = errors.is_none_or(Errors::within_tolerance);
    if arguments.json {
        let running = updated.map(
            |r| json!({ "running_mean": r.mean, "running_var": r.var, "num_batches_tracked": r.num_batches_tracked }),
        );
        print_json(&json!({
            "op": arguments.op,
            "adapter": engine.name(),
            "fallback": engine.last_fallback().map(|error| error.to_string()),
            "shape": output.shape(),
            "dtype": output.dtype().to_string(),
            "mean": mean, "min": least, "max": greatest,
            "seconds": seconds,
            "output": arguments.output.as_ref().filter(|_| matches).map(|path| path.display().to_string()),
            "verify": errors.map(Errors::json),
            "running": running,
        }));
        return;
    }
    say_error(&engine.description());
    let shape = output.shape();
    print(&format!(
        "{} {shape:?} {}: mean {mean:.4e}, from {least:.4} to {greatest:.4}, in {:.1} ms",
        arguments.op,
        output.dtype(),
        seconds * 1e3
    ));
    if let Some(errors) = errors {
        print(&errors.line());
        if !matches {
            print("FAIL: outside the tolerance, nothing was written");
        }
    }
    if let Some(lost) = lost {
        say_error(&format!("note: a .npy file holds no {lost}; write a .safetensors file to keep them"));
    }
    if let Some(path) = arguments.output.as_ref().filter(|_| matches) {
        print(&format!("wrote {}", path.display()));
    }
}
