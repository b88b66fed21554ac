//! Attributes in PyTorch's spelling become a norm.

use serde_json::{Map, Value};
use wgpu_norm::Layout;
use wgpu_norm::norm::{
    BatchGroupNorm, BatchNorm, ConditionalBatchNorm, FilterResponseNorm, GroupNorm, InstanceNorm, LayerNorm,
    MomentShortcut, Norm, PositionalNorm, ReducedAxes, RmsNorm, SandwichBatchNorm, SwitchableNorm, SyncBatchNorm,
};
use wgpu_norm::plan::{Momentum, RunningVariance};

/// The operations that there are, with their attributes.
const OPERATIONS: [(&str, &[&str]); 13] = [
    ("layer_norm", &["normalized_shape", "axes", "eps"]),
    ("rms_norm", &["normalized_shape", "axes", "eps"]),
    ("group_norm", &["num_groups", "eps", "layout"]),
    ("instance_norm", &["use_input_stats", "momentum", "eps", "batched", "layout"]),
    ("batch_norm", &BATCH),
    ("sync_batch_norm", &["training", "momentum", "eps", "track_running_stats", "layout", "world_size"]),
    ("batch_group_norm", &["num_groups", "training", "momentum", "eps", "track_running_stats", "layout"]),
    ("conditional_batch_norm", &BATCH),
    ("sandwich_batch_norm", &BATCH),
    ("switchable_norm", &["training", "momentum", "eps", "layout"]),
    ("positional_norm", &["eps", "layout"]),
    ("moment_shortcut", &["layout"]),
    ("filter_response_norm", &["eps", "layout"]),
];

/// The attributes of batch normalization.
const BATCH: [&str; 5] = ["training", "momentum", "eps", "track_running_stats", "layout"];

/// The attributes of one operation, each by its name.
#[derive(Debug, Clone)]
pub(crate) struct Attributes {
    op: String,
    values: Map<String, Value>,
}

impl Attributes {
    /// Checks the operation's name and that it knows every attribute.
    pub(crate) fn new(op: &str, values: Map<String, Value>) -> Result<Self, String> {
        let Some((_, known)) = OPERATIONS.iter().find(|(name, _)| *name == op) else {
            let names: Vec<&str> = OPERATIONS.iter().map(|(name, _)| *name).collect();
            return Err(format!("operation: expected one of {}, got {op:?}", names.join(", ")));
        };
        match values.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(format!("attribute {key}: not known to {op}, which has {}", known.join(", "))),
            None => Ok(Self { op: op.to_owned(), values }),
        }
    }

    /// The operation's name.
    pub(super) fn operation(&self) -> &str {
        &self.op
    }

    /// Whether running estimates take part at all.
    pub(super) fn tracks(&self) -> Result<bool, String> {
        self.boolean("track_running_stats", true)
    }

    /// The norm. `fallback` is the normalized_shape where the attributes name no axes.
    pub(crate) fn norm(&self, fallback: &[usize]) -> Result<Box<dyn Norm>, String> {
        Ok(match self.op.as_str() {
            "layer_norm" => Box::new(LayerNorm { axes: self.axes(fallback)?, eps: self.number_or("eps", 1e-5)? }),
            "rms_norm" => Box::new(RmsNorm { axes: self.axes(fallback)?, eps: self.number("eps")? }),
            "group_norm" => Box::new(GroupNorm {
                num_groups: self.count("num_groups")?,
                eps: self.number_or("eps", 1e-5)?,
                layout: self.layout()?,
            }),
            "instance_norm" => Box::new(InstanceNorm {
                use_input_stats: self.boolean("use_input_stats", true)?,
                // PyTorch's layer hands on 0 where its momentum is None.
                momentum: self.share()?.map_or(0.0, |m| if let Momentum::Fixed(share) = m { share } else { 0.0 }),
                running_variance: RunningVariance::default(),
                eps: self.number_or("eps", 1e-5)?,
                batched: self.boolean("batched", true)?,
                layout: self.layout()?,
            }),
            "sync_batch_norm" => Box::new(SyncBatchNorm { batch: self.batch_norm()? }),
            "batch_group_norm" => Box::new(BatchGroupNorm::new(self.count("num_groups")?).batch(self.batch_norm()?)),
            "conditional_batch_norm" => Box::new(ConditionalBatchNorm::new(self.batch_norm()?)),
            "sandwich_batch_norm" => Box::new(SandwichBatchNorm::new(self.batch_norm()?)),
            "switchable_norm" => Box::new(SwitchableNorm {
                training: self.boolean("training", false)?,
                momentum: self.number_or("momentum", 0.1)?,
                eps: self.number_or("eps", 1e-5)?,
                layout: self.layout()?,
            }),
            "positional_norm" => match self.positional_norm()? {
                Some(norm) => Box::new(norm),
                None => return Err("operation: expected positional_norm".into()),
            },
            "moment_shortcut" => Box::new(MomentShortcut { layout: self.layout()? }),
            "filter_response_norm" => {
                Box::new(FilterResponseNorm { eps: self.number_or("eps", 1e-6)?, layout: self.layout()? })
            }
            _ => Box::new(self.batch_norm()?),
        })
    }

    fn batch_norm(&self) -> Result<BatchNorm, String> {
        Ok(BatchNorm {
            training: self.boolean("training", false)?,
            momentum: self.share()?.unwrap_or_default(),
            running_variance: RunningVariance::default(),
            eps: self.number_or("eps", 1e-5)?,
            layout: self.layout()?,
        })
    }

    /// The norm whose mean and deviation are outputs too, if it is one.
    pub(super) fn positional_norm(&self) -> Result<Option<PositionalNorm>, String> {
        if self.op != "positional_norm" {
            return Ok(None);
        }
        Ok(Some(PositionalNorm { eps: self.number_or("eps", 1e-5)?, layout: self.layout()? }))
    }

    /// How many ranks share the statistics, where the operation knows of any.
    pub(super) fn world_size(&self) -> Result<Option<usize>, String> {
        if self.values.contains_key("world_size") { self.count("world_size").map(Some) } else { Ok(None) }
    }

    /// What the operation calls weight and bias.
    pub(super) fn parameter_names(&self) -> [&'static str; 2] {
        if self.op == "moment_shortcut" { ["gamma", "beta"] } else { ["weight", "bias"] }
    }

    fn wrong<T>(&self, key: &str, expected: &str) -> Result<T, String> {
        Err(format!("attribute {key}: expected {expected}, got {}", self.values.get(key).unwrap_or(&Value::Null)))
    }

    fn boolean(&self, key: &str, default: bool) -> Result<bool, String> {
        match self.values.get(key) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(_) => self.wrong(key, "true or false"),
        }
    }

    /// A number, or the default where it is absent.
    fn number_or(&self, key: &str, default: f64) -> Result<f64, String> {
        match self.values.get(key) {
            Some(Value::Null) => self.wrong(key, "a number"),
            _ => Ok(self.number(key)?.unwrap_or(default)),
        }
    }

    /// A number, or nothing where it is absent or null.
    fn number(&self, key: &str) -> Result<Option<f64>, String> {
        match self.values.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_f64().map_or_else(|| self.wrong(key, "a number"), |number| Ok(Some(number))),
        }
    }

    /// The momentum: the default where it is absent, cumulative where it is null.
    fn share(&self) -> Result<Option<Momentum>, String> {
        match self.values.get("momentum") {
            None => Ok(Some(Momentum::default())),
            Some(Value::Null) => Ok(Some(Momentum::Cumulative)),
            Some(_) => Ok(self.number("momentum")?.map(Momentum::Fixed)),
        }
    }

    fn count(&self, key: &str) -> Result<usize, String> {
        let value = self.values.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        value.map_or_else(|| self.wrong(key, "a whole number"), Ok)
    }

    fn layout(&self) -> Result<Layout, String> {
        match self.values.get("layout").map(|v| v.as_str().unwrap_or_default()) {
            None | Some("channels_first") => Ok(Layout::ChannelsFirst),
            Some("channels_last") => Ok(Layout::ChannelsLast),
            Some(_) => self.wrong("layout", "channels_first or channels_last"),
        }
    }

    fn axes(&self, fallback: &[usize]) -> Result<ReducedAxes, String> {
        let axes = self.whole_numbers("axes")?;
        let normalized = self.whole_numbers("normalized_shape")?;
        match (axes, normalized) {
            (Some(_), Some(_)) => self.wrong("axes", "axes or normalized_shape, not both"),
            (Some(axes), None) => {
                let axes = axes.into_iter().map(isize::try_from).collect::<Result<_, _>>();
                axes.map(ReducedAxes::Axes).or_else(|_| self.wrong("axes", "axes of the input"))
            }
            (None, Some(shape)) => {
                let shape = shape.into_iter().map(usize::try_from).collect::<Result<_, _>>();
                shape.map(ReducedAxes::Last).or_else(|_| self.wrong("normalized_shape", "lengths of the last axes"))
            }
            (None, None) => Ok(ReducedAxes::Last(fallback.to_vec())),
        }
    }

    /// A list of whole numbers; one alone is a list of one, as in PyTorch.
    fn whole_numbers(&self, key: &str) -> Result<Option<Vec<i64>>, String> {
        let numbers = match self.values.get(key) {
            None => return Ok(None),
            Some(Value::Array(items)) => items.iter().map(Value::as_i64).collect(),
            Some(one) => one.as_i64().map(|n| vec![n]),
        };
        numbers.map_or_else(|| self.wrong(key, "a list of whole numbers"), |numbers| Ok(Some(numbers)))
    }
}

/// `key=value` from the command line; a value that is no JSON is taken as text.
pub(super) fn parse_setting(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("--set {text}: expected key=value"))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((key.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn norm(op: &str, json: &str) -> Result<Box<dyn Norm>, String> {
        let Ok(Value::Object(values)) = serde_json::from_str(json) else { panic!("{json} is an object") };
        Attributes::new(op, values)?.norm(&[4])
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let cases = [
            ("layer_morm", "{}", "layer_morm"),
            ("layer_norm", r#"{"epsilon": 1}"#, "epsilon"),
            ("layer_norm", r#"{"eps": "small"}"#, "eps"),
            ("layer_norm", r#"{"eps": null}"#, "eps: expected a number, got null"),
            ("layer_norm", r#"{"normalized_shape": [-1]}"#, "normalized_shape"),
            ("layer_norm", r#"{"normalized_shape": 1.5}"#, "normalized_shape"),
            ("layer_norm", r#"{"normalized_shape": 4, "axes": 1}"#, "not both"),
            ("group_norm", "{}", "num_groups"),
            ("group_norm", r#"{"num_groups": -2}"#, "-2"),
            ("batch_norm", r#"{"training": 1}"#, "training"),
            ("batch_norm", r#"{"layout": "nhwc"}"#, "channels_last"),
            ("batch_norm", r#"{"momentum": []}"#, "momentum"),
        ];
        for (op, json, part) in cases {
            let message = norm(op, json).err().unwrap_or_else(|| panic!("{op} {json} is refused"));
            assert!(message.contains(part), "{op} {json}: {message:?} does not say {part:?}");
        }
    }

    #[test]
    fn settings_are_json_or_text() {
        assert_eq!(parse_setting("eps=1e-12"), Ok(("eps".into(), serde_json::json!(1e-12))));
        assert_eq!(parse_setting("layout=channels_last"), Ok(("layout".into(), Value::String("channels_last".into()))));
        assert!(parse_setting("eps").is_err(), "no value");
    }
}
