//! Runs of `check` on any number of machines, as one table.

use super::{Adapter, Certificate, Head, Row};
use std::collections::BTreeSet;

/// Adapters of one run or of many.
#[derive(Debug)]
pub(in crate::cli) struct Joined<'a> {
    entries: Vec<Entry<'a>>,
}

/// An adapter with what was found out of it.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) head: &'a Head,
    pub(super) adapter: &'a Adapter,
    pub(super) rows: Vec<&'a Row>,
}

impl<'a> Joined<'a> {
    /// The adapters of one run.
    pub(in crate::cli) fn one(certificate: &'a Certificate) -> Self {
        let entry = |adapter: &'a Adapter| {
            let rows = certificate.results.iter().filter(|row| row.adapter == adapter.described.name).collect();
            Entry { head: &certificate.head, adapter, rows }
        };
        Self { entries: certificate.adapters.iter().map(entry).collect() }
    }

    /// The adapters of all of these, each with the name of its file. What one run found must not count twice; two machines
    /// of one make are two.
    pub(in crate::cli) fn all(files: &'a [(String, Certificate)]) -> Result<Self, String> {
        let mut entries: Vec<Entry<'_>> = Vec::new();
        let mut origins: Vec<&str> = Vec::new();
        for (file, certificate) in files {
            for entry in Self::one(certificate).entries {
                if let Some(same) = entries.iter().position(|other| other.is_of_the_run_of(&entry)) {
                    let (name, first) = (&entry.adapter.described.name, origins[same]);
                    return Err(format!(
                        "{file}: expected a run that no other file has, got that of {first} on {name:?}"
                    ));
                }
                entries.push(entry);
                origins.push(file);
            }
        }
        Ok(Self { entries })
    }

    pub(super) fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &'a Row> {
        self.entries.iter().flat_map(|entry| entry.rows.iter().copied())
    }

    /// Sorted by name.
    pub(super) fn operations(&self) -> BTreeSet<&'a str> {
        self.rows().map(Row::operation).collect()
    }

    pub(in crate::cli) fn failed(&self) -> usize {
        self.rows().filter(|row| row.has_failed()).count()
    }
}

impl Entry<'_> {
    /// Whether both are one adapter in one run.
    fn is_of_the_run_of(&self, other: &Self) -> bool {
        self.head == other.head && self.adapter.described == other.adapter.described
    }
}

impl Row {
    /// What stands in the tables for the operation.
    pub(super) fn operation(&self) -> &str {
        self.about.op.as_deref().unwrap_or("unreadable")
    }
}
