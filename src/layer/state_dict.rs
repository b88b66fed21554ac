//! How a state dict is made and loaded, by PyTorch's rules.

use super::contents::Name;
use super::entry::{Entry, IncompatibleKeys, OrFault, Source, StateDict};
use super::{Layer, Recipe, check_counter};
use crate::error::{Error, Result};
use crate::tensor::{Data, Spec, Tensor};

impl Layer {
    /// Everything that the layer remembers, by PyTorch's names after `prefix`.
    ///
    /// ```
    /// use wgpu_norm::Engine;
    /// use wgpu_norm::layer::{InstanceNorm2d, Layer};
    ///
    /// let norm = Layer::new(&Engine::new()?, InstanceNorm2d::new(3).affine(true))?;
    /// let keys: Vec<String> = norm.state_dict("encoder.norm.")?.into_keys().collect();
    /// assert_eq!(keys, ["encoder.norm.bias", "encoder.norm.weight"]);
    /// # Ok::<(), wgpu_norm::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// None today: what a layer remembers is on the host too, whatever became of its device.
    pub fn state_dict(&self, prefix: &str) -> Result<StateDict> {
        let mut dict = StateDict::new();
        for name in self.contents().names() {
            if let Some(entry) = self.state.get(name)? {
                dict.insert(format!("{prefix}{}", name.as_str()), entry);
            }
        }
        Ok(dict)
    }

    /// Loads what stands in `dict` after `prefix`. Where `strict`, nothing may be missing, and nothing else may stand
    /// there; otherwise what is missing stays as it is, and the result says what did not match.
    ///
    /// PyTorch's rules hold. Values are converted to the layer's storage type, those of whole numbers in a file as well, and
    /// whole numbers of any type to a counter. A state dict without
    /// `num_batches_tracked` is one of PyTorch before 0.4.1; the layer's own counter stays. Running estimates for an
    /// instance normalization that keeps none are refused, strict or not.
    ///
    /// ```
    /// use wgpu_norm::Engine;
    /// use wgpu_norm::layer::{BatchNorm1d, Layer};
    ///
    /// let engine = Engine::new()?;
    /// let (mut old, mut new) = (Layer::new(&engine, BatchNorm1d::new(2))?, Layer::new(&engine, BatchNorm1d::new(2))?);
    /// old.set("running_mean", wgpu_norm::Tensor::from_f32([2], vec![3.0, 4.0])?)?;
    /// new.load_state_dict(&old.state_dict("bn.")?, "bn.", true)?;
    /// assert_eq!(new.get("running_mean")?.data().to_f32(), [3.0, 4.0]);
    ///
    /// let error = new.load_state_dict(&old.state_dict("bn.")?, "norm.", true).unwrap_err();
    /// assert!(error.to_string().contains(r#"Missing key(s) in state_dict: "norm.weight", "norm.bias""#));
    /// # Ok::<(), wgpu_norm::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::StateDict`] with everything that is wrong: what is missing, what is not expected, and what has another
    /// shape or is no tensor. The layer is then as it was.
    pub fn load_state_dict(&mut self, dict: &StateDict, prefix: &str, strict: bool) -> Result<IncompatibleKeys> {
        self.load_from(dict, prefix, strict)
    }

    /// As [`load_state_dict`](Self::load_state_dict), from anywhere.
    pub(crate) fn load_from(&mut self, source: &dyn Source, prefix: &str, strict: bool) -> Result<IncompatibleKeys> {
        let mut load = Load { prefix, strict, entries: vec![], keys: IncompatibleKeys::default(), faults: vec![] };
        load.read(self, source);
        load.check_rest(self, source);
        let (entries, keys) = load.finish(self.class())?;
        self.state.set(entries, &self.engine)?;
        Ok(keys)
    }
}

/// What a state dict has for a layer, and what is wrong with it.
struct Load<'a> {
    prefix: &'a str,
    strict: bool,
    entries: Vec<(Name, Entry)>,
    keys: IncompatibleKeys,
    faults: Vec<String>,
}

impl Load<'_> {
    fn key(&self, name: Name) -> String {
        format!("{}{}", self.prefix, name.as_str())
    }

    /// Reads what the layer has a place for.
    fn read(&mut self, layer: &Layer, source: &dyn Source) {
        for name in layer.contents().names() {
            let key = self.key(name);
            match source.shape(&key) {
                Some(shape) => match fitting(&key, &shape, layer.contents().spec(name), source) {
                    Ok(entry) => self.entries.push((name, entry)),
                    Err(fault) => self.faults.push(fault),
                },
                None if name != Name::NumBatchesTracked => self.keys.missing.push(key),
                None => {}
            }
        }
    }

    /// Looks at what the layer has no place for.
    fn check_rest(&mut self, layer: &Layer, source: &dyn Source) {
        let own: Vec<String> = layer.contents().names().map(|name| self.key(name)).collect();
        let mut rest = source.keys(self.prefix);
        rest.retain(|key| !own.contains(key));
        if matches!(layer.description.recipe, Recipe::Instance(_)) {
            let estimates = [Name::RunningMean, Name::RunningVar].map(|name| self.key(name));
            let found: Vec<String> = estimates.into_iter().filter(|key| rest.contains(key)).collect();
            if !found.is_empty() {
                self.faults.push(unexpected_buffers(&found, layer.class()));
                rest.retain(|key| !found.contains(key));
            }
        }
        self.keys.unexpected = rest;
    }

    /// All entries, or an error with all faults.
    fn finish(self, class: &str) -> Result<(Vec<(Name, Entry)>, IncompatibleKeys)> {
        let counted = if self.strict { self.keys.clone() } else { IncompatibleKeys::default() };
        if counted == IncompatibleKeys::default() && self.faults.is_empty() {
            return Ok((self.entries, self.keys));
        }
        Err(Error::StateDict {
            layer: class.to_owned(),
            missing: counted.missing,
            unexpected: counted.unexpected,
            faults: self.faults,
        })
    }
}

/// An entry in the layer's own type; `spec` is none for the counter.
fn fitting(key: &str, shape: &[usize], spec: Option<Spec>, source: &dyn Source) -> OrFault<Entry> {
    // PyTorch before 0.4 had no scalars and stored a counter as a list of one.
    let fits = spec.as_ref().map_or(shape.is_empty() || shape == [1], |spec| spec.shape == shape);
    if !fits {
        let wanted = spec.map(|spec| spec.shape).unwrap_or_default();
        return Err(format!(
            "size mismatch for {key}: copying a param with shape {shape:?} from checkpoint, the shape in current \
             model is {wanted:?}"
        ));
    }
    let entry = match spec {
        Some(spec) => source.tensor(key).and_then(|tensor| converted(tensor, spec).map_err(|error| error.to_string())),
        None => source.counter(key).and_then(|counter| {
            check_counter(counter).map(|()| Entry::Counter(counter)).map_err(|error| error.to_string())
        }),
    };
    entry.map_err(|fault| format!("{key}: {fault}"))
}

fn converted(tensor: Tensor, spec: Spec) -> Result<Entry> {
    if tensor.dtype() == spec.dtype {
        return Ok(Entry::Tensor(tensor));
    }
    Tensor::new(spec.shape, Data::from_f64(spec.dtype, &tensor.data().to_f64())).map(Entry::Tensor)
}

/// PyTorch's own words.
fn unexpected_buffers(keys: &[String], class: &str) -> String {
    let names = keys.iter().map(|key| format!("{key:?}")).collect::<Vec<_>>().join(" and ");
    format!(
        "Unexpected running stats buffer(s) {names} for {class} with track_running_stats=False. If state_dict is a \
         checkpoint saved before 0.4.0, this may be expected because {class} does not track running stats by default \
         since 0.4.0. Please remove these keys from state_dict. If the running stats are actually needed, instead set \
         track_running_stats=True in {class} to enable them. See the documentation of {class} for details."
    )
}
