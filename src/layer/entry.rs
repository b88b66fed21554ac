use crate::tensor::Tensor;
use std::collections::BTreeMap;

/// A state dict: PyTorch's names, each after the layer's prefix, with their values.
///
/// Several layers' are one model's:
///
/// ```
/// use wgpu_norm::Engine;
/// use wgpu_norm::layer::{BatchNorm2d, Layer, LayerNorm};
///
/// let engine = Engine::new()?;
/// let (stem, head) = (Layer::new(&engine, BatchNorm2d::new(8))?, Layer::new(&engine, LayerNorm::new([4]))?);
/// let mut model = stem.state_dict("stem.bn.")?;
/// model.extend(head.state_dict("head.norm.")?);
/// assert_eq!(model.keys().next().map(String::as_str), Some("head.norm.bias"));
/// assert_eq!(model["stem.bn.num_batches_tracked"].counter(), Some(0));
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
pub type StateDict = BTreeMap<String, Entry>;

/// A value of a state dict.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Entry {
    /// A tensor of floating point values.
    Tensor(Tensor),
    /// `num_batches_tracked`: in a file a single I64.
    Counter(u64),
}

impl Entry {
    /// The tensor, if it is one.
    #[must_use]
    pub fn tensor(&self) -> Option<&Tensor> {
        match self {
            Self::Tensor(tensor) => Some(tensor),
            Self::Counter(_) => None,
        }
    }

    /// The counter, if it is one.
    #[must_use]
    pub fn counter(&self) -> Option<u64> {
        match self {
            Self::Tensor(_) => None,
            Self::Counter(counter) => Some(*counter),
        }
    }
}

impl From<Tensor> for Entry {
    fn from(tensor: Tensor) -> Self {
        Self::Tensor(tensor)
    }
}

/// What did not match where a state dict was loaded without being strict.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IncompatibleKeys {
    /// What the layer has and the state dict has not; it stayed as it was.
    pub missing: Vec<String>,
    /// What the state dict has under the prefix and the layer has not.
    pub unexpected: Vec<String>,
}

/// A value, or what is wrong with it: one of the faults that a load lists.
pub(crate) type OrFault<T> = Result<T, String>;

/// Where entries come from: memory, or a file of which no more is read than is asked for.
pub(crate) trait Source {
    /// The keys that begin with a prefix, in order.
    fn keys(&self, prefix: &str) -> Vec<String>;

    /// The shape of what a key stands for, if it is there.
    fn shape(&self, key: &str) -> Option<Vec<usize>>;

    /// The floating point values that a key stands for, made such where they are numbers of another kind; or why not.
    fn tensor(&self, key: &str) -> OrFault<Tensor>;

    /// The single whole number that a key stands for, of whatever kind it is; or why it is none.
    fn counter(&self, key: &str) -> OrFault<u64>;
}

impl Source for StateDict {
    fn keys(&self, prefix: &str) -> Vec<String> {
        under(self, prefix)
    }

    fn shape(&self, key: &str) -> Option<Vec<usize>> {
        self.get(key).map(|entry| entry.tensor().map(|tensor| tensor.shape().to_vec()).unwrap_or_default())
    }

    fn tensor(&self, key: &str) -> OrFault<Tensor> {
        match self.get(key).ok_or("missing")? {
            Entry::Tensor(tensor) => Ok(tensor.clone()),
            Entry::Counter(_) => Err("expected floating point values, got an integer".into()),
        }
    }

    fn counter(&self, key: &str) -> OrFault<u64> {
        match self.get(key).ok_or("missing")? {
            Entry::Tensor(tensor) => whole(tensor.data().to_f64().first().copied()),
            Entry::Counter(counter) => Ok(*counter),
        }
    }
}

/// A counter that was made a number of another type with everything else.
pub(crate) fn whole(value: Option<f64>) -> OrFault<u64> {
    let value = value.unwrap_or(f64::NAN);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole, and a u64 holds it")]
    if value >= 0.0 && value.fract() == 0.0 && value < 2f64.powi(63) {
        return Ok(value as u64);
    }
    Err(format!("expected an integer from 0 on, got {value}"))
}

/// The keys of a map that begin with a prefix, in order.
pub(crate) fn under<T>(map: &BTreeMap<String, T>, prefix: &str) -> Vec<String> {
    map.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded))
        .map(|(key, _)| key)
        .take_while(|key| key.starts_with(prefix))
        .cloned()
        .collect()
}
