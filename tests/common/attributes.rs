//! The attributes of a case, in PyTorch's spelling, as a norm.

use serde_json::{Map, Value};
use wgpu_norm::Layout;
use wgpu_norm::norm::{
    BatchGroupNorm, BatchNorm, ConditionalBatchNorm, FilterResponseNorm, GroupNorm, InstanceNorm, LayerNorm,
    MomentShortcut, Norm, PositionalNorm, RmsNorm, SandwichBatchNorm, SwitchableNorm,
};
use wgpu_norm::plan::{Momentum, RunningVariance};

type Attributes = Map<String, Value>;

/// The operations that the library has.
pub(crate) const IMPLEMENTED: [&str; 12] = [
    "layer_norm",
    "rms_norm",
    "group_norm",
    "instance_norm",
    "batch_norm",
    "batch_group_norm",
    "conditional_batch_norm",
    "sandwich_batch_norm",
    "switchable_norm",
    "positional_norm",
    "moment_shortcut",
    "filter_response_norm",
];

/// The norm of a case; the defaults are those of the cases' README.
pub(crate) fn norm(op: &str, attributes: &Attributes) -> Result<Box<dyn Norm>, String> {
    only_known(op, attributes)?;
    Ok(match op {
        "layer_norm" => Box::new(LayerNorm::new(normalized_shape(attributes)?).eps(eps(attributes, 1e-5)?)),
        "rms_norm" => rms_norm(attributes)?,
        "group_norm" => Box::new(GroupNorm::new(num_groups(attributes)?).eps(eps(attributes, 1e-5)?)),
        "instance_norm" => Box::new(InstanceNorm {
            use_input_stats: flag(attributes, "use_input_stats", true)?,
            momentum: number(attributes, "momentum")?.unwrap_or(0.1),
            running_variance: RunningVariance::default(),
            eps: eps(attributes, 1e-5)?,
            batched: flag(attributes, "batched", true)?,
            layout: Layout::ChannelsFirst,
        }),
        "batch_group_norm" => Box::new(BatchGroupNorm::new(num_groups(attributes)?).batch(batch_norm(attributes)?)),
        "conditional_batch_norm" => Box::new(ConditionalBatchNorm::new(batch_norm(attributes)?)),
        "sandwich_batch_norm" => Box::new(SandwichBatchNorm::new(batch_norm(attributes)?)),
        "switchable_norm" => Box::new(SwitchableNorm {
            training: required_flag(attributes, "training")?,
            momentum: number(attributes, "momentum")?.unwrap_or(0.1),
            eps: eps(attributes, 1e-5)?,
            layout: Layout::ChannelsFirst,
        }),
        "positional_norm" => Box::new(positional_norm(attributes)?),
        "moment_shortcut" => Box::new(MomentShortcut::new()),
        "filter_response_norm" => Box::new(FilterResponseNorm::new().eps(eps(attributes, 1e-6)?)),
        _ => Box::new(batch_norm(attributes)?),
    })
}

pub(crate) fn positional_norm(attributes: &Attributes) -> Result<PositionalNorm, String> {
    Ok(PositionalNorm::new().eps(eps(attributes, 1e-5)?))
}

fn batch_norm(attributes: &Attributes) -> Result<BatchNorm, String> {
    Ok(BatchNorm {
        training: required_flag(attributes, "training")?,
        momentum: momentum(attributes)?,
        running_variance: RunningVariance::default(),
        eps: eps(attributes, 1e-5)?,
        layout: Layout::ChannelsFirst,
    })
}

/// An attribute that nobody reads would be a case that tests something else than it says.
fn only_known(op: &str, attributes: &Attributes) -> Result<(), String> {
    let known: &[&str] = match op {
        "layer_norm" | "rms_norm" => &["normalized_shape", "eps"],
        "group_norm" => &["num_groups", "eps"],
        "instance_norm" => &["use_input_stats", "momentum", "eps", "batched"],
        "batch_norm" | "conditional_batch_norm" | "sandwich_batch_norm" => {
            &["training", "momentum", "eps", "track_running_stats"]
        }
        "batch_group_norm" => &["training", "momentum", "eps", "track_running_stats", "num_groups"],
        "switchable_norm" => &["training", "momentum", "eps"],
        "positional_norm" | "filter_response_norm" => &["eps"],
        "moment_shortcut" => &[],
        _ => return Err(format!("operation {op}: not implemented")),
    };
    match attributes.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("attribute {key}: unknown to {op}")),
        None => Ok(()),
    }
}

/// `eps` null leaves the choice to the norm.
fn rms_norm(attributes: &Attributes) -> Result<Box<dyn Norm>, String> {
    let norm = RmsNorm::new(normalized_shape(attributes)?);
    Ok(Box::new(match number(attributes, "eps")? {
        Some(eps) => norm.eps(eps),
        None => norm,
    }))
}

/// `momentum` null is the plain average, absent is 0.1.
fn momentum(attributes: &Attributes) -> Result<Momentum, String> {
    Ok(match attributes.get("momentum") {
        Some(Value::Null) => Momentum::Cumulative,
        _ => Momentum::Fixed(number(attributes, "momentum")?.unwrap_or(0.1)),
    })
}

fn eps(attributes: &Attributes, default: f64) -> Result<f64, String> {
    Ok(number(attributes, "eps")?.unwrap_or(default))
}

fn number(attributes: &Attributes, key: &str) -> Result<Option<f64>, String> {
    match attributes.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or_else(|| format!("attribute {key}: {value} is no number")),
    }
}

fn flag(attributes: &Attributes, key: &str, default: bool) -> Result<bool, String> {
    if attributes.contains_key(key) { required_flag(attributes, key) } else { Ok(default) }
}

fn required_flag(attributes: &Attributes, key: &str) -> Result<bool, String> {
    attributes.get(key).and_then(Value::as_bool).ok_or_else(|| format!("attribute {key}: no true and no false"))
}

fn num_groups(attributes: &Attributes) -> Result<usize, String> {
    attributes.get("num_groups").and_then(whole).ok_or_else(|| "attribute num_groups: no whole number".into())
}

fn normalized_shape(attributes: &Attributes) -> Result<Vec<usize>, String> {
    let list = attributes.get("normalized_shape").and_then(Value::as_array);
    let lengths = list.and_then(|items| items.iter().map(whole).collect());
    lengths.ok_or_else(|| "attribute normalized_shape: no list of whole numbers".into())
}

fn whole(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|number| usize::try_from(number).ok())
}
