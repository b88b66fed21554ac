//! A norm together with what it remembers: parameters, running estimates, training and evaluation, in PyTorch's
//! names and with its defaults.
//!
//! | description | PyTorch | remembers |
//! | --- | --- | --- |
//! | [`LayerNorm`] | `torch.nn.LayerNorm` | `weight`, `bias` |
//! | [`RmsNorm`] | `torch.nn.RMSNorm` | `weight` |
//! | [`GroupNorm`] | `torch.nn.GroupNorm` | `weight`, `bias` |
//! | [`InstanceNorm1d`], [`2d`](InstanceNorm2d), [`3d`](InstanceNorm3d) | `torch.nn.InstanceNorm1d/2d/3d` | nothing, or what BatchNorm does |
//! | [`BatchNorm1d`], [`2d`](BatchNorm2d), [`3d`](BatchNorm3d) | `torch.nn.BatchNorm1d/2d/3d` | `weight`, `bias`, `running_mean`, `running_var`, `num_batches_tracked` |
//! | [`SyncBatchNorm`] | `torch.nn.SyncBatchNorm` | what BatchNorm does |
//! | [`BatchGroupNorm`] | – | what BatchNorm does, with running estimates of groups |
//! | [`ConditionalBatchNorm`] | – | what BatchNorm does, with a row of `weight` and `bias` for each class |
//! | [`SandwichBatchNorm`] | – | what BatchNorm does, and `class_weight`, `class_bias` |
//! | [`SwitchableNorm`] | – | `weight`, `bias`, `mean_weight`, `var_weight`, `running_mean`, `running_var` |
//! | [`FilterResponseNorm`] | – | `weight`, `bias`, `tau`, and `eps_l` where it is learned |
//! | [`PositionalNorm`] | – | nothing |
//!
//! A description has the arguments of PyTorch's constructor as methods; [`Layer::new`] makes a [`Layer`] of any of them.
//!
//! # Example: train, evaluate, save
//!
//! ```
//! use wgpu_norm::layer::{BatchNorm1d, Layer};
//! use wgpu_norm::{Engine, Tensor};
//!
//! let mut norm = Layer::new(&Engine::new()?, BatchNorm1d::new(2).momentum(0.5))?;
//! let batch = Tensor::from_f32([2, 2], vec![1.0, 10.0, 3.0, 30.0])?;
//! let forward = norm.forward_saving(&batch)?; // moves the running estimates
//! let upstream = Tensor::from_f32([2, 2], vec![1.0; 4])?;
//! let gradients = norm.backward(&batch, &upstream, &forward, None)?;
//! assert_eq!(gradients.bias.expect("there is a bias").data().to_f32(), [2.0, 2.0]);
//!
//! norm.eval();
//! let one = norm.forward(&Tensor::from_f32([1, 2], vec![1.0, 10.0])?)?; // by the running estimates
//! assert!(one.data().to_f32()[0].abs() < 1e-6);
//! assert_eq!(norm.state_dict("bn.")?["bn.running_mean"].tensor().expect("a tensor").data().to_f32(), [1.0, 10.0]);
//! # Ok::<(), wgpu_norm::Error>(())
//! ```

mod batch_group_norm;
mod batch_norm;
mod conditional_batch_norm;
mod contents;
mod description;
mod entry;
mod filter_response_norm;
mod fold;
mod group_norm;
mod input;
mod instance_norm;
mod layer_norm;
mod options;
mod pass;
mod positional_norm;
mod rms_norm;
mod sandwich_batch_norm;
mod state;
mod state_dict;
mod switchable_norm;
mod sync_batch_norm;

pub use batch_group_norm::BatchGroupNorm;
pub use batch_norm::{BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d};
pub use conditional_batch_norm::ConditionalBatchNorm;
pub use description::Description;
pub use entry::{Entry, IncompatibleKeys, StateDict};
pub use filter_response_norm::FilterResponseNorm;
pub use fold::Folded;
pub use group_norm::GroupNorm;
pub use input::Input;
pub use instance_norm::{InstanceNorm, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d};
pub use layer_norm::LayerNorm;
pub use pass::Forward;
pub use positional_norm::PositionalNorm;
pub use rms_norm::RmsNorm;
pub use sandwich_batch_norm::SandwichBatchNorm;
pub use switchable_norm::SwitchableNorm;
pub use sync_batch_norm::{SyncBatchNorm, convert_sync_batch_norm, revert_sync_batch_norm};

#[cfg(feature = "checkpoint")]
pub(crate) use entry::{OrFault, Source, under, whole};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use contents::{Contents, Name};
use description::Recipe;
use state::State;

/// A norm with its state, on an engine.
///
/// New layers are in training, as in PyTorch. Where the engine is a GPU, parameters and running estimates lie in its
/// memory, and training moves the estimates there; inputs and outputs are host memory's, so each pass of a GPU's takes them there
/// and back (tensors that stay on a GPU are what [`gpu`](crate::gpu) is for). A clone has a state of its own: a forward pass takes
/// the layer mutably, in evaluation too, so threads that serve have a clone each, for the price of a copy of its parameters.
#[derive(Debug, Clone)]
pub struct Layer {
    engine: Engine,
    description: Description,
    state: State,
    training: bool,
    frozen: bool,
}

impl Layer {
    /// A layer in PyTorch's initial state: weights 1, biases 0, running means 0, running variances 1. What PyTorch has
    /// no layer for begins as its authors have it, save where a description says otherwise.
    ///
    /// ```
    /// use wgpu_norm::layer::{GroupNorm, Layer};
    /// use wgpu_norm::{Dtype, Engine};
    ///
    /// let norm = Layer::new(&Engine::new()?, GroupNorm::new(32, 320).eps(1e-6).dtype(Dtype::F16))?;
    /// assert_eq!(norm.names().collect::<Vec<_>>(), ["weight", "bias"]);
    /// # Ok::<(), wgpu_norm::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When an option makes no sense, or there is no memory for the state.
    pub fn new(engine: &Engine, description: impl TryInto<Description, Error = Error>) -> Result<Self> {
        let mut description = description.try_into()?;
        let state = State::new(&description.contents, engine)?;
        // After all that may fail: a layer that does not come about has no number among those of the group.
        description.group = description.group.map(|group| group.for_layer());
        Ok(Self { engine: engine.clone(), description, state, training: true, frozen: false })
    }

    fn contents(&self) -> &Contents {
        &self.description.contents
    }

    /// PyTorch's name of the class, or ours where it has none.
    #[must_use]
    pub fn class(&self) -> &str {
        if self.description.group.is_some() { sync_batch_norm::CLASS } else { &self.description.class }
    }

    /// What executes the layer.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Moves the layer to another engine.
    ///
    /// # Errors
    ///
    /// When a device fails; the layer then stays where it is.
    pub fn to(&mut self, engine: &Engine) -> Result<&mut Self> {
        self.state.to(engine)?;
        self.engine = engine.clone();
        Ok(self)
    }

    /// From now on statistics are the input's, and the running estimates follow, where there are any.
    pub fn train(&mut self) -> &mut Self {
        self.training = true;
        self
    }

    /// From now on the running estimates are used, where there are any, and stay as they are.
    pub fn eval(&mut self) -> &mut Self {
        self.training = false;
        self
    }

    /// Whether the layer is in training.
    #[must_use]
    pub fn is_training(&self) -> bool {
        self.training
    }

    /// Freezes the layer or thaws it: a frozen one gives no gradients of parameters, and uses its running
    /// estimates in training too, where it has any, and keeps them.
    ///
    /// ```
    /// use wgpu_norm::layer::{BatchNorm1d, Layer};
    /// use wgpu_norm::{Engine, Tensor};
    ///
    /// let mut norm = Layer::new(&Engine::new()?, BatchNorm1d::new(1).eps(0.0))?;
    /// norm.freeze(true);
    /// let x = Tensor::from_f32([2, 1], vec![3.0, 5.0])?;
    /// let forward = norm.forward_saving(&x)?;
    /// assert!((forward.output.data().to_f32()[1] - 5.0).abs() < 1e-5); // by a mean of 0 and a variance of 1
    /// assert_eq!(norm.num_batches_tracked()?, Some(0));
    /// assert!(norm.backward(&x, &x, &forward, None)?.weight.is_none());
    /// # Ok::<(), wgpu_norm::Error>(())
    /// ```
    pub fn freeze(&mut self, frozen: bool) -> &mut Self {
        self.frozen = frozen;
        self
    }

    /// Whether the layer is frozen.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Sets parameters to what they were in the beginning, and the running estimates too.
    ///
    /// # Errors
    ///
    /// When there is no memory for it, or the device fails.
    pub fn reset_parameters(&mut self) -> Result<()> {
        self.reset_running_stats()?;
        self.state.reset(&Name::PARAMETERS, &self.engine)
    }

    /// Sets the running estimates to what they were in the beginning, where there are any.
    ///
    /// # Errors
    ///
    /// When there is no memory for it, or the device fails.
    pub fn reset_running_stats(&mut self) -> Result<()> {
        self.state.reset(&Name::RUNNING, &self.engine)
    }

    /// The names of what the layer remembers, PyTorch's where it has one, in the order of a state dict.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.contents().names().map(Name::as_str)
    }

    /// A copy of `weight`, `bias`, `running_mean`, `running_var` or another tensor of the layer's [`names`](Self::names); the
    /// counter among these, which is none, is [`num_batches_tracked`](Self::num_batches_tracked).
    ///
    /// ```
    /// use wgpu_norm::layer::{Layer, LayerNorm};
    /// use wgpu_norm::{Engine, Tensor};
    ///
    /// let mut norm = Layer::new(&Engine::new()?, LayerNorm::new([2]))?;
    /// norm.set("weight", Tensor::from_f32([2], vec![3.0, 4.0])?)?;
    /// assert_eq!(norm.get("weight")?.data().to_f32(), [3.0, 4.0]);
    /// let error = norm.set("bias", Tensor::from_f32([3], vec![0.0; 3])?).unwrap_err();
    /// assert_eq!(error.to_string(), "bias: expected shape [2], got shape [3]");
    /// assert!(norm.get("running_mean").is_err());
    /// # Ok::<(), wgpu_norm::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the layer has no tensor of this name.
    pub fn get(&self, name: &str) -> Result<Tensor> {
        match self.state.get(self.tensor_named(name)?)? {
            Some(Entry::Tensor(tensor)) => Ok(tensor),
            _ => Err(self.no_tensor(name)),
        }
    }

    /// Replaces `weight`, `bias`, `running_mean`, `running_var` or another tensor of the layer's [`names`](Self::names).
    ///
    /// # Errors
    ///
    /// When the layer has no tensor of this name, or one of another shape or storage type; and when the device fails.
    /// The state is then as it was.
    pub fn set(&mut self, name: &str, tensor: Tensor) -> Result<()> {
        let own = self.tensor_named(name)?;
        let spec = self.contents().spec(own).ok_or_else(|| self.no_tensor(name))?;
        if tensor.shape() != spec.shape {
            let expected = format!("shape {:?}", spec.shape);
            return Err(Error::Shape { argument: own.as_str(), got: tensor.shape().to_vec(), expected });
        }
        if tensor.dtype() != spec.dtype {
            let expected = spec.dtype.to_string();
            return Err(Error::Dtype { argument: own.as_str(), got: tensor.dtype(), expected });
        }
        self.state.set(vec![(own, Entry::Tensor(tensor))], &self.engine)
    }

    fn tensor_named(&self, name: &str) -> Result<Name> {
        let found = self.contents().names().find(|own| own.as_str() == name && self.contents().spec(*own).is_some());
        found.ok_or_else(|| self.no_tensor(name))
    }

    fn no_tensor(&self, name: &str) -> Error {
        let there = self.contents().names().filter(|own| self.contents().spec(*own).is_some()).map(Name::as_str);
        let there = there.collect::<Vec<_>>().join(", ");
        let expected = format!("a tensor that this {} has, which are [{there}]", self.class());
        Error::Value { argument: "name", got: format!("{name:?}"), expected }
    }

    /// The batches that the running estimates have followed, where the layer counts any.
    ///
    /// As in PyTorch batch normalization counts, and instance normalization leaves the counter alone.
    ///
    /// # Errors
    ///
    /// None today: what a layer remembers is on the host too, whatever became of its device.
    pub fn num_batches_tracked(&self) -> Result<Option<u64>> {
        Ok(self.state.get(Name::NumBatchesTracked)?.and_then(|entry| entry.counter()))
    }

    /// Sets the counter of batches.
    ///
    /// # Errors
    ///
    /// When the layer has no running estimates, or does not count batches; and when the number is beyond an I64.
    pub fn set_num_batches_tracked(&mut self, batches: u64) -> Result<()> {
        check_counter(batches)?;
        let reason = match self.contents().running {
            None => Some("the layer keeps no running estimates"),
            Some(running) if !running.counter => Some("the layer counts no batches"),
            Some(_) => None,
        };
        if let Some(reason) = reason {
            return Err(Error::Unexpected { argument: "num_batches_tracked", reason });
        }
        self.state.set(vec![(Name::NumBatchesTracked, Entry::Counter(batches))], &self.engine)
    }
}

/// A counter goes into state dicts, where it is an I64.
fn check_counter(batches: u64) -> Result<()> {
    if i64::try_from(batches).is_ok() {
        return Ok(());
    }
    let expected = format!("at most {}, which is all that an I64 holds", i64::MAX);
    Err(Error::Value { argument: "num_batches_tracked", got: batches.to_string(), expected })
}
