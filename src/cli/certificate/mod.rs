//! What `check` finds out of adapters, as it is kept: written by `check --json`, read by `report`.

mod adapter;
mod behaviour;
mod figure;
mod join;
mod read;
mod render;
mod table;
mod tally;

use super::head::{Described, Head};
pub(super) use behaviour::Property;
pub(super) use figure::Figure;
pub(super) use join::Joined;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One run of `check`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct Certificate {
    #[serde(flatten)]
    pub(super) head: Head,
    pub(super) adapters: Vec<Adapter>,
    pub(super) results: Vec<Row>,
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
}

/// An executor, what it has and what it lacks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct Adapter {
    #[serde(flatten)]
    pub(super) described: Described,
    /// Those of wgpu's features that it has of those that matter.
    pub(super) features: Vec<String>,
    pub(super) lacks: Vec<String>,
    pub(super) limits: BTreeMap<String, u64>,
    /// How it computes; empty where finding that out failed.
    pub(super) properties: BTreeMap<String, Property>,
    /// Why it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fault: Option<String>,
}

/// A case on an adapter.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct Row {
    pub(super) case: String,
    pub(super) adapter: String,
    /// None of a case that could not be read.
    #[serde(flatten)]
    pub(super) about: About,
    #[serde(flatten)]
    pub(super) outcome: Outcome,
    /// In units of the last place of what is stored; none where nothing was compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) worst_ulp: Option<Figure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) median_ulp: Option<Figure>,
}

/// What a case is about; all none where it could not be read.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) op: Option<String>,
    pub(super) pass: Option<String>,
    pub(super) dtype: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result")]
pub(super) enum Outcome {
    #[serde(rename = "pass")]
    Pass { worst_error_over_tolerance: Figure },
    #[serde(rename = "FAIL")]
    Fail {
        reason: String,
        /// None where nothing was compared.
        #[serde(skip_serializing_if = "Option::is_none")]
        worst_error_over_tolerance: Option<Figure>,
    },
}

impl Certificate {
    pub(super) fn new(adapters: Vec<Adapter>, results: Vec<Row>) -> Self {
        let failed = results.iter().filter(|row| row.has_failed()).count();
        Self { head: Head::now(), adapters, passed: results.len() - failed, failed, skipped: 0, results }
    }

    /// With the figures of every operation on every adapter.
    pub(super) fn json(&self) -> Value {
        let mut json = json!(self);
        let joined = Joined::one(self);
        if let Some(adapters) = json["adapters"].as_array_mut() {
            for (adapter, entry) in adapters.iter_mut().zip(joined.entries()) {
                tally::annotate(adapter, entry);
            }
        }
        json
    }
}

impl Row {
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.outcome, Outcome::Fail { .. })
    }

    /// The worst error over its tolerance; none of a failure that nothing was compared in.
    fn over_tolerance(&self) -> Option<f64> {
        match &self.outcome {
            Outcome::Pass { worst_error_over_tolerance } => Some(worst_error_over_tolerance.value()),
            Outcome::Fail { worst_error_over_tolerance, .. } => worst_error_over_tolerance.map(Figure::value),
        }
    }

    pub(super) fn line(&self) -> String {
        match &self.outcome {
            Outcome::Pass { worst_error_over_tolerance } => {
                format!("pass {} {} {:.3}", self.case, self.adapter, worst_error_over_tolerance.value())
            }
            Outcome::Fail { reason, .. } => format!("FAIL {} {} {reason}", self.case, self.adapter),
        }
    }
}
