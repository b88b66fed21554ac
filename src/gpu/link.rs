//! Joins a kernel, its shared files and one file a slot to one shader.

use super::slots::File;
use super::variant::Variant;

/// Who is going to read the shader; dialects differ in what has to be enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// naga, which knows subgroup operations without a directive and refuses it.
    Naga,
    /// A browser, which wants `enable subgroups;`.
    Browser,
}

/// A shader's text, and where each part of it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    /// The text.
    pub source: String,
    /// For each part, its first line in `source` (from 1) and its file.
    origins: Vec<(usize, &'static str)>,
}

impl Linked {
    /// The file and its line (from 1) behind a line of the text (from 1).
    #[must_use]
    pub fn origin(&self, line: usize) -> Option<(&'static str, usize)> {
        let (first, path) = self.origins.iter().rev().find(|(first, _)| *first <= line)?;
        Some((path, line - first + 1))
    }
}

/// The shader of a variant.
#[must_use]
pub fn link(variant: &Variant, target: Target) -> Linked {
    let mut source = String::new();
    if variant.needs_f16() {
        source.push_str("enable f16;\n");
    }
    if variant.needs_subgroups() && target == Target::Browser {
        source.push_str("enable subgroups;\n");
    }
    let mut line = 1 + source.lines().count();
    let mut origins: Vec<(usize, &'static str)> = Vec::new();
    for &File { path, text } in variant.files() {
        if origins.iter().any(|(_, known)| *known == path) {
            continue;
        }
        origins.push((line, path));
        source.push_str(text);
        line += text.lines().count();
    }
    Linked { source, origins }
}
