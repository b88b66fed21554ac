//! Reads what an earlier run of `check --json` wrote. Files come from other machines, so nothing in them is believed
//! that can be counted.

use super::Certificate;
use crate::cli::safetensors_file::map;
use std::collections::BTreeSet;
use std::path::Path;

impl Certificate {
    pub(in crate::cli) fn read(path: &Path) -> Result<Self, String> {
        let bytes = map(path)?;
        let fault = |error: &dyn std::fmt::Display| {
            format!("{}: expected what `wgpu-norm check --json` prints: {error}", path.display())
        };
        let certificate: Self = serde_json::from_slice(&bytes).map_err(|error| fault(&error))?;
        certificate.check().map_err(|error| fault(&error))?;
        Ok(certificate)
    }

    /// Every adapter has one name, every result an adapter, and the sums are right.
    fn check(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for adapter in &self.adapters {
            let name = adapter.described.name.as_str();
            if !names.insert(name) {
                return Err(format!("adapters: expected each name once, got {name:?} twice"));
            }
        }
        if let Some(row) = self.results.iter().find(|row| !names.contains(row.adapter.as_str())) {
            return Err(format!("result {}: expected one of the adapters, got {:?}", row.case, row.adapter));
        }
        let failed = self.results.iter().filter(|row| row.has_failed()).count();
        let counts = [("passed", self.results.len() - failed, self.passed), ("failed", failed, self.failed)];
        match counts.into_iter().find(|(_, counted, told)| counted != told) {
            Some((name, counted, told)) => Err(format!("{name}: expected {counted}, as many as there are, got {told}")),
            None => Ok(()),
        }
    }
}
