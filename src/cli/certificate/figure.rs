//! Errors as JSON has them.

use crate::cli::words::number;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An error: from 0 on, and infinite where a NaN or an infinity stands for something else. JSON knows no infinity and
/// has the word `inf`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::cli) struct Figure(f64);

impl Figure {
    /// A NaN, which no comparison gives, counts as the worst error.
    pub(in crate::cli) fn new(value: f64) -> Self {
        Self(if value.is_nan() { f64::INFINITY } else { value.abs() })
    }

    pub(in crate::cli) fn value(self) -> f64 {
        self.0
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_finite() { serializer.serialize_f64(self.0) } else { serializer.serialize_str("inf") }
    }
}

impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let figure = if value == "inf" { Some(f64::INFINITY) } else { value.as_f64() };
        let figure = figure.filter(|figure| *figure >= 0.0);
        figure.map(Self).ok_or_else(|| D::Error::custom(format!("expected a number from 0 on or \"inf\", got {value}")))
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0.0 => f.write_str("0"),
            value if value.is_finite() => f.write_str(&number(value)),
            _ => f.write_str("inf"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for value in [0.0, 0.5, 1e300, f64::INFINITY] {
            let text = serde_json::to_string(&Figure::new(value)).expect("written");
            assert_eq!(serde_json::from_str::<Figure>(&text).expect("read").value(), value, "{text}");
        }
        for text in ["-1", "\"NaN\"", "null", "1e999", "[]"] {
            assert!(serde_json::from_str::<Figure>(text).is_err(), "{text}");
        }
    }
}
