//! `wgpu-norm run`: normalizes the tensor in a file.

use super::attributes::{Attributes, parse_setting};
use super::compare::Errors;
use super::features::Disabled;
use super::interrupt::Interrupt;
use super::learned::{Learned, STATE};
use super::place::Place;
use super::safetensors_file::{TensorFile, map};
use super::stream::Pieces;
use super::write::{Results, Target};
use super::{Failure, memory, npy, open, print, print_json, progress, say_error};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::time::Instant;
use wgpu_norm::plan::Extra;
use wgpu_norm::{Choice, Data, Engine, RunningStatistics, Spec, Tensor};

/// What `run` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wgpu-norm run layer_norm hidden.npy -o normalized.npy
  wgpu-norm run rms_norm hidden.npy --params model.safetensors --prefix model.norm -o normalized.npy --verify
  wgpu-norm run group_norm image.safetensors --tensor image --set num_groups=32 -o out.safetensors
  wgpu-norm run layer_norm image.npy --set axes=[1] --adapter cpu")]
pub(super) struct Arguments {
    /// The operation: layer_norm, rms_norm, group_norm, instance_norm, batch_norm, sync_batch_norm (of one rank),
    /// batch_group_norm, conditional_batch_norm, sandwich_batch_norm, switchable_norm, positional_norm, moment_shortcut
    /// or filter_response_norm.
    op: String,
    /// The file with the tensor, .npy or .safetensors.
    input: PathBuf,
    /// Where the result goes, .npy or .safetensors; without it only its statistics are printed.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Where to run: auto, cpu, reference, or part of an adapter's name, which stands for the best that has it.
    #[arg(long, default_value = "auto")]
    adapter: String,
    #[command(flatten)]
    disabled: Disabled,
    /// A .safetensors file with what the operation learned, by PyTorch's names (weight, bias, running_mean,
    /// running_var, num_batches_tracked, class_weight, class_bias, tau, eps_l, mean_weight, var_weight; gamma and beta of
    /// moment_shortcut), and labels.
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,
    /// What stands before these names and a dot in the file, for one layer of a model.
    #[arg(long, requires = "params")]
    prefix: Option<String>,
    /// An attribute in PyTorch's spelling, its value as JSON; may be given several times: normalized_shape, axes,
    /// num_groups, eps, momentum, layout=channels_last and others, which an unknown one is answered with. Batch
    /// normalization and its kin go by running estimates, where there are any, unless training=true.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Which tensor of a .safetensors input.
    #[arg(long, value_name = "NAME")]
    tensor: Option<String>,
    /// Read, normalize and write in pieces of about so many bytes, whatever the size of the tensor. Without it tensors
    /// from 512 MiB on go in pieces of 64 MiB, where the operation does not take the whole tensor at once.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    piece: Option<u64>,
    /// Compare with the f64 reference and print the errors.
    #[arg(long)]
    verify: bool,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Bytes of a tensor from which on it is not read at once, and those of a piece then.
const LARGE: u64 = 512 << 20;
const PIECE: u64 = 64 << 20;

/// What the operation is, and what it is applied to.
pub(super) struct Work {
    pub(super) attributes: Attributes,
    pub(super) spec: Spec,
    pub(super) learned: Learned,
}

/// The values that it is applied to.
enum Input {
    Here(Tensor),
    InFile(Place),
}

/// What a run gives beside its output.
pub(super) struct Outcome {
    pub(super) summary: Summary,
    pub(super) seconds: f64,
    pub(super) errors: Option<Errors>,
    /// The running estimates, where they were updated.
    pub(super) updated: Option<RunningStatistics>,
    /// Mean and deviation are outputs too.
    pub(super) has_moments: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (mut work, input) = read(arguments).map_err(Failure::Unusable)?;
    let target = arguments.output.as_ref().map(|path| Target::new(path, work.spec.dtype)).transpose();
    let target = target.map_err(Failure::Unusable)?;
    let engine = engine(&arguments.adapter, &arguments.disabled)?;
    let outcome = match input {
        Input::Here(input) => whole(arguments, &engine, &mut work, &input, target.as_ref())?,
        Input::InFile(mut place) => {
            let piece = arguments.piece.unwrap_or(PIECE);
            let pieces = Pieces { piece, verify: arguments.verify, target: target.as_ref() };
            match pieces.run(&engine, &mut work, &mut place)? {
                Some(outcome) => outcome,
                // It takes the whole tensor at once.
                None => {
                    let input = place.whole().map_err(Failure::Unusable)?;
                    whole(arguments, &engine, &mut work, &input, target.as_ref())?
                }
            }
        }
    };
    report(arguments, &engine, &work.spec, &outcome, target.as_ref());
    if outcome.matches() { Ok(()) } else { Err(Failure::Mismatch) }
}

/// Normalizes a tensor in memory.
fn whole(
    arguments: &Arguments,
    engine: &Engine,
    work: &mut Work,
    input: &Tensor,
    target: Option<&Target>,
) -> Result<Outcome, Failure> {
    if arguments.verify || engine.name() == Choice::Reference.name() {
        memory::check_reference(input.data().len()).map_err(Failure::Unusable)?;
    }
    let bar = progress::bar(3);
    bar.set_message("normalizing");
    let before = work.learned.running.clone();
    let started = Instant::now();
    let (output, moments) = work.forward(engine, input)?;
    let seconds = started.elapsed().as_secs_f64();
    bar.inc(1);

    bar.set_message("verifying");
    let errors = if arguments.verify { Some(verify(work, input, before, &output)?) } else { None };
    bar.inc(1);
    bar.set_message("writing");
    let mut summary = Summary::default();
    summary.add(output.data());
    let updated = work.learned.running.clone().filter(|_| work.updates().unwrap_or(false));
    let outcome = Outcome { summary, seconds, errors, updated, has_moments: moments.is_some() };
    if let Some(target) = target.filter(|_| outcome.matches()) {
        let results = Results { output: &output, running: outcome.updated.as_ref(), moments: moments.as_ref() };
        // Until now there was nothing to leave behind.
        let interrupt = Interrupt::listen()?;
        target.write(&results, &interrupt)?;
    }
    bar.finish_and_clear();
    Ok(outcome)
}

/// The engine that a name stands for: the best of the adapters that have it.
fn engine(name: &str, disabled: &Disabled) -> Result<Engine, Failure> {
    let choices = pollster::block_on(Choice::named(name))?;
    match choices.first() {
        Some(best) if name != "all" => open(best, disabled),
        _ => {
            let names = choices.iter().map(Choice::name).collect::<Vec<_>>().join(", ");
            Err(Failure::Unusable(format!("--adapter {name}: expected one adapter, got {names}")))
        }
    }
}

impl Work {
    pub(super) fn norm(&self) -> Result<Box<dyn wgpu_norm::norm::Norm>, Failure> {
        let shape = &self.spec.shape;
        let last = &shape[shape.len().saturating_sub(1)..];
        let fallback = self.learned.weight.as_ref().map_or(last, Tensor::shape);
        self.attributes.norm(fallback).map_err(Failure::Unusable)
    }

    /// The output, and mean and deviation where they are outputs too.
    fn forward(&mut self, engine: &Engine, input: &Tensor) -> Result<(Tensor, Option<(Tensor, Tensor)>), Failure> {
        if let Some(norm) = self.attributes.positional_norm().map_err(Failure::Unusable)? {
            let forward = engine.forward_saving(&norm, input, &mut self.learned.with(None))?;
            let moments = norm.moments(input, &forward.statistics)?;
            return Ok((forward.output, Some(moments)));
        }
        let norm = self.norm()?;
        let mut running = self.learned.running.take();
        let output = engine.forward(&*norm, input, &mut self.learned.with(running.as_mut()))?;
        self.learned.running = running;
        Ok((output, None))
    }

    /// Whether the running estimates are updated rather than read.
    fn updates(&self) -> Result<bool, Failure> {
        let mut running = self.learned.running.clone();
        let parameters = self.learned.with(running.as_mut());
        let plan = self.norm()?.lower(&parameters.operands_of(self.spec.clone()))?;
        Ok(plan.running_update().is_some())
    }
}

fn verify(work: &Work, input: &Tensor, before: Option<RunningStatistics>, output: &Tensor) -> Result<Errors, Failure> {
    let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect();
    let mut running = before;
    let learned = &work.learned;
    let parameters = learned.with(running.as_mut());
    let plan = work.norm()?.lower(&parameters.operands(input))?;
    let mut values = wgpu_norm::reference::Values {
        input: input.data().to_f64(),
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

fn read(arguments: &Arguments) -> Result<(Work, Input), String> {
    let mut settings = Map::new();
    let own;
    let (input, file) = match arguments.input.extension().and_then(|e| e.to_str()) {
        Some("npy") => {
            if let Some(name) = &arguments.tensor {
                return Err(format!("--tensor {name}: a .npy file holds one tensor without a name"));
            }
            (read_npy(arguments)?, None)
        }
        Some("safetensors") => {
            own = TensorFile::open(&arguments.input)?;
            settings = attributes_of_case(&own, &arguments.op)?;
            let name = input_name(&own, arguments)?;
            (read_safetensors(arguments, &own, &name)?, Some(&own))
        }
        _ => {
            let path = arguments.input.display();
            return Err(format!("input: expected a name that ends in .npy or .safetensors, got {path}"));
        }
    };
    let spec = match &input {
        Input::Here(tensor) => tensor.spec(),
        Input::InFile(place) => place.spec().clone(),
    };
    for setting in &arguments.set {
        let (key, value) = parse_setting(setting)?;
        settings.insert(key, value);
    }
    let attributes = Attributes::new(&arguments.op, settings)?;
    let other = arguments.params.as_deref().map(TensorFile::open).transpose()?;
    let prefix = other.as_ref().map(|file| prefix(arguments, file)).transpose()?.unwrap_or_default();
    let Some(parameters) = other.as_ref().or(file) else {
        return Ok((Work { attributes, spec, learned: Learned::default() }, input));
    };
    if other.is_some() {
        check_names(parameters, &prefix, &attributes)?;
    }
    let mut learned = Learned::read(parameters, &prefix, &attributes)?;
    if let (None, Some(file)) = (&learned.labels, file) {
        // They belong to the samples, not to the layer.
        learned.labels = file.integers("labels")?;
    }
    Ok((Work { attributes, spec, learned }, input))
}

/// What one operation calls weight and bias under another's names would be left out in silence.
fn check_names(parameters: &TensorFile, prefix: &str, attributes: &Attributes) -> Result<(), String> {
    let own = attributes.parameter_names();
    let others = ["weight", "bias", "gamma", "beta"].into_iter().filter(|name| !own.contains(name));
    let names = parameters.names();
    let has = |name: &str| names.iter().any(|other| other.strip_prefix(prefix) == Some(name));
    match others.into_iter().find(|name| has(name)) {
        Some(name) if !own.into_iter().any(has) => {
            let [weight, bias] = own;
            Err(format!("{prefix}{name}: {} takes {weight} and {bias}, got neither", attributes.operation()))
        }
        _ => Ok(()),
    }
}

/// Whether a tensor of so many bytes is left in its file.
fn is_large(arguments: &Arguments, bytes: u64) -> bool {
    arguments.piece.is_some() || bytes >= LARGE
}

fn read_npy(arguments: &Arguments) -> Result<Input, String> {
    let path = &arguments.input;
    let bytes = map(path)?;
    if is_large(arguments, bytes.len() as u64)
        && let Some(place) = Place::in_npy(path, &bytes)?
    {
        return Ok(Input::InFile(place));
    }
    memory::check(bytes.len() as u64)?;
    npy::read(&bytes).map(Input::Here).map_err(|error| format!("{}: {error}", path.display()))
}

fn read_safetensors(arguments: &Arguments, file: &TensorFile, name: &str) -> Result<Input, String> {
    let bytes = file.bytes_of(name)?.unwrap_or(0);
    if is_large(arguments, bytes)
        && let Some(place) = file.place(name)?
    {
        return Ok(Input::InFile(place));
    }
    memory::check(bytes)?;
    file.tensor(name)?.map(Input::Here).ok_or_else(|| not_there(file, name))
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
    let candidates: Vec<&String> = names.iter().filter(|name| !has_name(name)).collect();
    match candidates.as_slice() {
        [one] => Ok((*one).clone()),
        _ => Err(format!("--tensor: needed to choose one of {}", some(&names))),
    }
}

/// Whether some operation has a tensor of this name beside its input.
fn has_name(name: &str) -> bool {
    ["weight", "bias", "gamma", "beta"].contains(&name) || STATE.contains(&name) || Extra::<()>::NAMES.contains(&name)
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
    let holds = |name: &String| name.strip_prefix(&dotted).is_some_and(has_name);
    if names.iter().any(holds) {
        return Ok(dotted);
    }
    let layer = |name: &String| name.rsplit_once('.').filter(|(_, last)| has_name(last)).map(|(p, _)| p.to_owned());
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

impl Outcome {
    pub(super) fn matches(&self) -> bool {
        self.errors.as_ref().is_none_or(Errors::within_tolerance)
    }
}

/// Sum, least and greatest of the finite values, and how many are not.
pub(super) struct Summary {
    count: u64,
    not_finite: u64,
    sum: f64,
    least: f64,
    greatest: f64,
}

impl Default for Summary {
    fn default() -> Self {
        Self { count: 0, not_finite: 0, sum: 0.0, least: f64::INFINITY, greatest: f64::NEG_INFINITY }
    }
}

impl Summary {
    /// Takes in more values; nothing is copied, they may be most of the memory.
    pub(super) fn add(&mut self, values: &Data) {
        match values {
            Data::F32(values) => values.iter().for_each(|&x| self.add_one(x.into())),
            Data::F16(values) => values.iter().for_each(|&x| self.add_one(x.into())),
            Data::Bf16(values) => values.iter().for_each(|&x| self.add_one(x.into())),
            other => other.to_f64().into_iter().for_each(|x| self.add_one(x)),
        }
    }

    fn add_one(&mut self, x: f64) {
        if x.is_finite() {
            self.count += 1;
            self.sum += x;
            (self.least, self.greatest) = (self.least.min(x), self.greatest.max(x));
        } else {
            self.not_finite += 1;
        }
    }

    /// Mean, least and greatest, where there is a finite value.
    fn stated(&self) -> Option<[f64; 3]> {
        #[expect(clippy::cast_precision_loss, reason = "no tensor has 2^53 elements")]
        let mean = self.sum / self.count as f64;
        (self.count > 0).then_some([mean, self.least, self.greatest])
    }

    fn words(&self) -> String {
        let finite = match self.stated() {
            Some([mean, least, greatest]) => format!("mean {mean:.4e}, from {least:.4} to {greatest:.4}"),
            None if self.not_finite == 0 => "empty".into(),
            None => "no finite value".into(),
        };
        match self.not_finite {
            0 => finite,
            count => format!("{finite}, {count} not finite"),
        }
    }
}

fn report(arguments: &Arguments, engine: &Engine, spec: &Spec, outcome: &Outcome, target: Option<&Target>) {
    let Outcome { summary, seconds, errors, updated, has_moments } = outcome;
    let [mean, least, greatest] = std::array::from_fn(|i| summary.stated().map(|stated| stated[i]));
    let matches = outcome.matches();
    if arguments.json {
        let running = updated.as_ref().map(
            |r| json!({ "running_mean": r.mean, "running_var": r.var, "num_batches_tracked": r.num_batches_tracked }),
        );
        print_json(&json!({
            "op": arguments.op,
            "adapter": engine.name(),
            "fallback": engine.last_fallback().map(|error| error.to_string()),
            "shape": spec.shape,
            "dtype": spec.dtype.to_string(),
            "mean": mean, "min": least, "max": greatest, "not_finite": summary.not_finite,
            "seconds": seconds,
            "output": arguments.output.as_ref().filter(|_| matches).map(|path| path.display().to_string()),
            "verify": errors.as_ref().map(Errors::json),
            "running": running,
        }));
        return;
    }
    say_error(&engine.description());
    print(&format!(
        "{} {:?} {}: {}, in {:.1} ms",
        arguments.op,
        spec.shape,
        spec.dtype,
        summary.words(),
        seconds * 1e3
    ));
    if let Some(errors) = errors {
        print(&errors.line());
        if !matches {
            print("FAIL: outside the tolerance, nothing was written");
        }
    }
    let more = if updated.is_some() { Some("running estimates") } else { has_moments.then_some("mean and deviation") };
    if let Some(lost) = more.filter(|_| target.is_some_and(|target| !target.holds_more())) {
        say_error(&format!("note: a .npy file holds no {lost}; write a .safetensors file to keep them"));
    }
    if let Some(path) = arguments.output.as_ref().filter(|_| matches) {
        print(&format!("wrote {}", path.display()));
    }
}
