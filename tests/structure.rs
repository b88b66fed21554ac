//! The rules of the house, held against the source as text.

use std::path::{Path, PathBuf};

/// A rule: which files it is about, and what must not stand in them.
struct Rule {
    name: &'static str,
    applies: fn(&str) -> bool,
    broken_by: fn(&str) -> Option<String>,
}

/// Files that may touch wgpu; everything else in `gpu` is pure.
const TOUCH_WGPU: [&str; 8] = [
    "src/gpu/bind.rs",
    "src/gpu/device.rs",
    "src/gpu/pipelines.rs",
    "src/gpu/prepare.rs",
    "src/gpu/readback.rs",
    "src/gpu/record.rs",
    "src/engine.rs",
    "src/lib.rs",
];

const NORMS: [&str; 10] = [
    "layer_norm",
    "rms_norm",
    "group_norm",
    "instance_norm",
    "batch_norm",
    "LayerNorm",
    "RmsNorm",
    "GroupNorm",
    "InstanceNorm",
    "BatchNorm",
];

fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

fn mentions(text: &str, words: &[&str]) -> Option<String> {
    code(text).find(|line| words.iter().any(|word| line.contains(word))).map(|line| line.trim().to_owned())
}

fn is_backend(path: &str) -> bool {
    ["src/gpu/", "src/cpu/", "src/reference/"].iter().any(|folder| path.starts_with(folder))
}

const RULES: [Rule; 9] = [
    Rule {
        name: "plan knows no device, no backend and no norm",
        applies: |path| path.starts_with("src/plan/"),
        broken_by: |text| {
            mentions(text, &["wgpu", "crate::gpu", "crate::cpu", "crate::norm", "rayon", "crate::engine"])
        },
    },
    Rule {
        name: "tensor knows nothing above it",
        applies: |path| path.starts_with("src/tensor/"),
        broken_by: |text| mentions(text, &["crate::plan", "crate::gpu", "crate::cpu", "crate::norm", "crate::engine"]),
    },
    Rule {
        name: "no backend knows a norm by name",
        applies: is_backend,
        // A backend's own unit tests may lower norms to have plans.
        broken_by: |text| mentions(text.split("#[cfg(test)]").next().unwrap_or(text), &NORMS),
    },
    Rule {
        name: "no backend knows norms or the engine",
        applies: is_backend,
        broken_by: |text| {
            mentions(text.split("#[cfg(test)]").next().unwrap_or(text), &["crate::norm", "crate::engine"])
        },
    },
    Rule {
        name: "no norm knows a backend",
        applies: |path| path.starts_with("src/norm/"),
        broken_by: |text| mentions(text, &["crate::gpu", "crate::cpu", "crate::reference", "crate::engine"]),
    },
    Rule {
        name: "wgpu is touched where the house says",
        applies: |path| path.starts_with("src/") && !path.starts_with("src/cli/") && !TOUCH_WGPU.contains(&path),
        broken_by: |text| mentions(text, &["wgpu::"]),
    },
    Rule {
        name: "the oracle shares nothing with the library",
        applies: |path| path.starts_with("tests/direct/"),
        broken_by: |text| mentions(text, &["wgpu_norm"]),
    },
    Rule {
        name: "a file has one subject, 500 lines at most",
        applies: |path| !path.starts_with("tests/cases/"),
        broken_by: |text| (text.lines().count() > 500).then(|| format!("{} lines", text.lines().count())),
    },
    Rule {
        name: "no variance by the difference of two large numbers",
        applies: |path| path.ends_with(".wgsl") || path.starts_with("src/"),
        broken_by: |text| mentions(text, &["sum_sq", "sumsq", "sq_sum", "sum_of_squares"]),
    },
];

/// Every Rust and WGSL file of the project, with `/` between folders.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = ["src", "tests", "shaders", "examples"].iter().map(|f| root.join(f)).collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("readable").map(|e| e.expect("readable").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|e| e == "rs" || e == "wgsl") {
                let path = entry.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
                files.push((path, std::fs::read_to_string(&entry).expect("UTF-8")));
            }
        }
    }
    files
}

/// A module of unit tests in a file of its own is no part of the backend.
fn is_unit_test(path: &str) -> bool {
    path.ends_with("/tests.rs")
}

#[test]
fn the_house_keeps_its_rules() {
    let sources = sources();
    let mut faults = Vec::new();
    for rule in &RULES {
        let about: Vec<_> = sources
            .iter()
            .filter(|(path, _)| (rule.applies)(path) && !(path.starts_with("src/") && is_unit_test(path)))
            .collect();
        assert!(!about.is_empty(), "{}: is about no file", rule.name);
        for (path, text) in about {
            if let Some(line) = (rule.broken_by)(text) {
                faults.push(format!("{}: {path}: {line}", rule.name));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_rule_can_be_broken() {
    let long = "x\n".repeat(501);
    let violation = "use wgpu::Device; use crate::gpu; use crate::norm::LayerNorm; use wgpu_norm::x; let sum_sq = 0;";
    for rule in &RULES {
        let broken = (rule.broken_by)(violation).or_else(|| (rule.broken_by)(&long));
        assert!(broken.is_some(), "{}", rule.name);
        assert_eq!((rule.broken_by)("// use wgpu::Device;\n"), None, "{}: prose breaks nothing", rule.name);
    }
}
