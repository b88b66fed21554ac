//! The one error type.

use crate::tensor::Dtype;
use std::time::Duration;

/// What went wrong, with the argument's name, what it was and what was expected.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor has a shape that the operation does not take.
    #[error("{argument}: expected {expected}, got shape {got:?}")]
    Shape {
        /// The argument's name.
        argument: &'static str,
        /// Its shape.
        got: Vec<usize>,
        /// The shapes that would do.
        expected: String,
    },
    /// A tensor's values are stored in a type that the operation does not take.
    #[error("{argument}: expected {expected}, got {got}")]
    Dtype {
        /// The argument's name.
        argument: &'static str,
        /// Its type.
        got: Dtype,
        /// The types that would do.
        expected: String,
    },
    /// An option has a value that makes no sense.
    #[error("{argument}: expected {expected}, got {got}")]
    Value {
        /// The option's name.
        argument: &'static str,
        /// Its value.
        got: String,
        /// The values that would do.
        expected: String,
    },
    /// The number of values does not fit the shape.
    #[error("{argument}: shape {shape:?} holds {expected} values, got {got}")]
    Length {
        /// The argument's name.
        argument: &'static str,
        /// The shape it was given with.
        shape: Vec<usize>,
        /// How many values the shape holds.
        expected: usize,
        /// How many values there were.
        got: usize,
    },
    /// A shape whose product of axes does not fit the machine's integers.
    #[error("{argument}: the number of elements of shape {shape:?} overflows")]
    Overflow {
        /// The argument's name.
        argument: &'static str,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A tensor that the plan needs was not given.
    #[error("{argument}: missing, {reason}")]
    Missing {
        /// The argument's name.
        argument: &'static str,
        /// Why it is needed.
        reason: &'static str,
    },
    /// A tensor was given that the plan has no use for.
    #[error("{argument}: not expected, {reason}")]
    Unexpected {
        /// The argument's name.
        argument: &'static str,
        /// Why it has no place.
        reason: &'static str,
    },
    /// A buffer, or the slice of one, cannot hold the tensor from the given offset on.
    #[error(
        "{argument}: expected a buffer or slice that ends at byte {expected} or beyond ({offset} of offset included), got one that ends at {got}"
    )]
    BufferSize {
        /// The argument's name.
        argument: &'static str,
        /// Where the slice ends in its buffer, or the buffer, in bytes.
        got: u64,
        /// Where it needs to end at least, in bytes.
        expected: u64,
        /// The offset in bytes.
        offset: u64,
    },
    /// A buffer was made without a usage that the kernels need.
    #[error("{argument}: expected a buffer with {expected} among its usages, got {got}")]
    BufferUsage {
        /// The argument's name.
        argument: &'static str,
        /// The buffer's usages.
        got: String,
        /// The usage that is missing.
        expected: &'static str,
    },
    /// A buffer is bound at an offset that is not a multiple of the alignment.
    #[error("{argument}: expected an offset that is a multiple of {alignment} bytes, got {got}")]
    BufferOffset {
        /// The argument's name.
        argument: &'static str,
        /// The offset in bytes.
        got: u64,
        /// The alignment in bytes.
        alignment: u64,
    },
    /// A buffer belongs to another device than the one that prepared the plan, or was destroyed.
    #[error(
        "{argument}: expected a buffer of the device that prepared the plan, and not a destroyed one, got one that it refuses: {message}"
    )]
    ForeignBuffer {
        /// The argument's name.
        argument: &'static str,
        /// wgpu's own words.
        message: String,
    },
    /// Two arguments share memory, and one of them is written.
    #[error("{written} and {other} share a buffer: expected {expected}")]
    Aliasing {
        /// The argument that is written.
        written: &'static str,
        /// The argument that overlaps it.
        other: &'static str,
        /// What would do.
        expected: &'static str,
    },
    /// Two arguments that the plan was prepared to have in one place are in two.
    #[error(
        "{written}: expected the place of {other}, {expected}, since the plan was prepared with {option}, got {got}"
    )]
    NotInPlace {
        /// The argument that is written.
        written: &'static str,
        /// The argument whose place it takes.
        other: &'static str,
        /// The option that says so.
        option: &'static str,
        /// Where the argument begins.
        got: String,
        /// Where it has to begin.
        expected: String,
    },
    /// The forced strategy cannot serve the plan.
    #[error("strategy: {strategy} cannot serve this plan, {reason}")]
    Strategy {
        /// The strategy's name.
        strategy: &'static str,
        /// Why not.
        reason: String,
    },
    /// More is needed than the device or the host offers: memory, or what kernels count or bind.
    #[error("{argument}: needs {needed} {unit}, the {limit_name} is {limit}")]
    TooLarge {
        /// What is too large.
        argument: &'static str,
        /// What it needs.
        needed: u64,
        /// Of what: bytes, elements, or storage buffers.
        unit: &'static str,
        /// What there is of it.
        limit: u64,
        /// What sets the limit.
        limit_name: &'static str,
    },
    /// No adapter has the name that was asked for.
    #[error("adapter: expected one of [{available}], or part of a name, got {wanted:?}")]
    NoAdapter {
        /// The name, or part of one, that was asked for.
        wanted: String,
        /// What there is to choose from: names of adapters, and words that stand for others.
        available: String,
    },
    /// The ranks of a group did not come together, or came for different things.
    #[error("{operation}: {message}")]
    Collective {
        /// What the rank that noticed was doing.
        operation: String,
        /// Which ranks, and what is wrong with them.
        message: String,
    },
    /// The device refused or failed.
    #[error("device: {0}")]
    Device(String),
    /// The device was lost, or destroyed by whoever owns it. It does nothing any more; another one has to be opened.
    #[error("device lost: {0}")]
    DeviceLost(String),
    /// The device has no memory left.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// The device did not answer in time. What it was asked for may still come about in its buffers.
    #[error("device: expected an answer within {limit:?}, got none")]
    TimedOut {
        /// How long it was given.
        limit: Duration,
    },
    /// A kernel did not compile: a fault of this library or of the driver.
    #[error("kernel {kernel}: {message}")]
    Kernel {
        /// The kernel and its choices.
        kernel: String,
        /// The compiler's words, with our own files and lines.
        message: String,
    },
    /// A state dict does not fit the layer. Everything that is wrong is listed, in PyTorch's words.
    #[error("Error(s) in loading state_dict for {layer}:{}", mismatches(missing, unexpected, faults))]
    StateDict {
        /// PyTorch's name of the layer's class.
        layer: String,
        /// The keys that the layer needs and the state dict has not.
        missing: Vec<String>,
        /// The keys that the state dict has and the layer has no place for.
        unexpected: Vec<String>,
        /// What else is wrong: other shapes, other types, running estimates that the layer does not keep.
        faults: Vec<String>,
    },
    /// A file could not be read or written, or is not what it has to be.
    #[error("{path}: {message}")]
    File {
        /// Where the file is.
        path: String,
        /// What went wrong.
        message: String,
    },
}

impl Error {
    /// Whether the device is at fault rather than what it was asked for, so that the same call can succeed elsewhere:
    /// on the CPU, or on another device.
    ///
    /// ```
    /// use wgpu_norm::Error;
    ///
    /// assert!(Error::OutOfMemory("no 4 GiB for the input".into()).is_of_device());
    /// assert!(!Error::Missing { argument: "weight", reason: "the plan has one" }.is_of_device());
    /// ```
    #[must_use]
    pub fn is_of_device(&self) -> bool {
        matches!(
            self,
            Self::Device(_)
                | Self::DeviceLost(_)
                | Self::OutOfMemory(_)
                | Self::TimedOut { .. }
                | Self::TooLarge { .. }
                | Self::Kernel { .. }
        )
    }
}

fn mismatches(missing: &[String], unexpected: &[String], faults: &[String]) -> String {
    let keys = |what, keys: &[String]| {
        let quoted = keys.iter().map(|key| format!("{key:?}")).collect::<Vec<_>>().join(", ");
        (!keys.is_empty()).then(|| format!(" {what} key(s) in state_dict: {quoted}."))
    };
    let faults = faults.iter().map(|fault| format!(" {}.", fault.trim_end_matches('.')));
    [keys("Missing", missing), keys("Unexpected", unexpected)].into_iter().flatten().chain(faults).collect()
}

/// The library's result.
pub type Result<T> = std::result::Result<T, Error>;
