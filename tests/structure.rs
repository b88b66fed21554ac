//! The rules of the house, held against the source as text: which way imports run, who may know what by name,
//! how long a file may be.

use std::path::{Path, PathBuf};

/// The first line, if any, that breaks a rule in a file of this path with this text.
type Rule = fn(path: &str, text: &str) -> Option<String>;

const RULES: [(&str, Rule); 12] = [
    ("no backend names a norm", no_backend_names_a_norm),
    ("no backend imports what is above it", no_backend_imports_what_is_above_it),
    ("plan imports nothing but tensors and errors", plan_imports_nothing_but_tensors_and_errors),
    ("only files that own a device use wgpu", only_files_that_own_a_device_use_wgpu),
    ("a shader begins by saying what it is", a_shader_begins_by_saying_what_it_is),
    ("tensors know nothing above them", tensors_know_nothing_above_them),
    ("no norm knows a backend", no_norm_knows_a_backend),
    ("nothing below knows of layers", nothing_below_knows_of_layers),
    ("groups know plans and nothing else", groups_know_plans_and_nothing_else),
    ("the oracle shares nothing with the library", the_oracle_shares_nothing_with_the_library),
    ("a file has one subject, 500 lines at most", a_file_has_500_lines_at_most),
    ("no variance by the difference of two large numbers", no_sum_of_squares_goes_by_its_name),
];

const NORMS: [&str; 19] = [
    "layernorm",
    "rmsnorm",
    "groupnorm",
    "instancenorm",
    "batchnorm",
    "rms",
    "batchgroupnorm",
    "conditionalbatchnorm",
    "conditional",
    "filterresponsenorm",
    "frn",
    "positionalnorm",
    "pono",
    "sandwichbatchnorm",
    "sandwich",
    "switchablenorm",
    "syncbatchnorm",
    "switchable",
    "momentshortcut",
];

const OWN_A_DEVICE: [&str; 18] = [
    "src/gpu/device.rs",
    "src/gpu/mixed.rs",
    "src/gpu/pipelines.rs",
    "src/gpu/prepare.rs",
    "src/gpu/probe.rs",
    "src/gpu/record.rs",
    "src/gpu/readback.rs",
    "src/gpu/scope.rs",
    "src/gpu/bind.rs",
    "src/gpu/bindings.rs",
    "src/gpu/buffers.rs",
    "src/gpu/held.rs",
    "src/gpu/host_tensors.rs",
    "src/gpu/synchronized.rs",
    "src/gpu/uploads.rs",
    "src/engine/mod.rs",
    "src/engine/choice.rs",
    "src/lib.rs",
];

fn no_backend_names_a_norm(path: &str, text: &str) -> Option<String> {
    // layer_norm, LayerNorm and LAYER_NORM are one word; `harms` is not `rms`.
    let names = |line: &str| words(line).any(|word| NORMS.contains(&word.replace('_', "").to_lowercase().as_str()));
    if is_backend(path) { shipped(text).into_iter().find(|line| names(line)) } else { None }
}

fn no_backend_imports_what_is_above_it(path: &str, text: &str) -> Option<String> {
    if !is_backend(path) {
        return None;
    }
    let own = path.split('/').nth(1).unwrap_or_default();
    let above =
        ["norm", "engine", "cli", "gpu", "cpu", "reference", "collective"].into_iter().filter(|module| *module != own);
    let paths: Vec<String> = above.map(|module| format!("crate::{module}")).collect();
    shipped(text).into_iter().filter(|line| !is_prose(line)).find(|line| paths.iter().any(|p| mentions(line, p)))
}

fn plan_imports_nothing_but_tensors_and_errors(path: &str, text: &str) -> Option<String> {
    let banned = ["wgpu", "gpu", "cpu", "norm", "rayon", "engine", "reference", "cli"];
    let breaks = |line: &String| !is_prose(line) && words(line).any(|word| banned.contains(&word));
    if path.starts_with("src/plan/") { text.lines().map(str::to_owned).find(breaks) } else { None }
}

/// The program may ask an adapter for its features: `src/cli` stands above the engine.
fn only_files_that_own_a_device_use_wgpu(path: &str, text: &str) -> Option<String> {
    let is_about = path.starts_with("src/") && !path.starts_with("src/cli/") && !OWN_A_DEVICE.contains(&path);
    // `wgpu_norm::` is the crate itself, and "wgpu-norm.resident" a label.
    let uses = |line: &str| line.contains("wgpu::");
    let imports = |line: &str| line.trim_start().starts_with("use wgpu;") || mentions(line, "crate::wgpu");
    let breaks = |line: &String| !is_prose(line) && (uses(line) || imports(line));
    if is_about { text.lines().map(str::to_owned).find(breaks) } else { None }
}

fn a_shader_begins_by_saying_what_it_is(path: &str, text: &str) -> Option<String> {
    let first = text.lines().next().unwrap_or_default();
    let says = first.strip_prefix("//").is_some_and(|comment| comment.trim().len() > 3);
    if path.ends_with(".wgsl") && !says { Some(first.to_owned()) } else { None }
}

fn knows_any(text: &str, modules: &[&str]) -> Option<String> {
    let knows = |line: &String| modules.iter().any(|module| mentions(line, &format!("crate::{module}")));
    shipped(text).into_iter().filter(|line| !is_prose(line)).find(knows)
}

fn tensors_know_nothing_above_them(path: &str, text: &str) -> Option<String> {
    let above = ["plan", "norm", "gpu", "cpu", "reference", "engine"];
    if path.starts_with("src/tensor/") { knows_any(text, &above) } else { None }
}

fn no_norm_knows_a_backend(path: &str, text: &str) -> Option<String> {
    if path.starts_with("src/norm/") { knows_any(text, &["gpu", "cpu", "reference", "engine"]) } else { None }
}

fn nothing_below_knows_of_layers(path: &str, text: &str) -> Option<String> {
    let below = ["src/tensor/", "src/plan/", "src/norm/", "src/reference/", "src/cpu/", "src/gpu/", "src/engine/"];
    match path {
        path if below.iter().any(|folder| path.starts_with(folder)) => knows_any(text, &["layer", "checkpoint"]),
        path if path.starts_with("src/layer/") => knows_any(text, &["checkpoint"]),
        _ => None,
    }
}

fn groups_know_plans_and_nothing_else(path: &str, text: &str) -> Option<String> {
    let others = ["norm", "gpu", "cpu", "reference", "engine", "layer", "checkpoint", "cli"];
    if path.starts_with("src/collective/") { knows_any(text, &others) } else { None }
}

fn the_oracle_shares_nothing_with_the_library(path: &str, text: &str) -> Option<String> {
    let shares = |line: &String| words(line).any(|word| word == "wgpu_norm");
    if path.starts_with("tests/direct/") { text.lines().map(str::to_owned).find(shares) } else { None }
}

fn a_file_has_500_lines_at_most(_: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > 500).then(|| format!("{lines} lines"))
}

/// The names that such code goes by; the formula itself no text search finds.
fn no_sum_of_squares_goes_by_its_name(path: &str, text: &str) -> Option<String> {
    let banned = ["sum_sq", "sumsq", "sq_sum", "sum_of_squares"];
    let breaks = |line: &String| words(line).any(|word| banned.contains(&word));
    if path.starts_with("tests/") { None } else { text.lines().map(str::to_owned).find(breaks) }
}

fn is_backend(path: &str) -> bool {
    let in_backend = ["src/gpu/", "src/cpu/", "src/reference/"].iter().any(|folder| path.starts_with(folder));
    in_backend && !path.ends_with("/tests.rs") && !path.contains("/tests/")
}

fn is_prose(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Whether `line` has this path, not one that only begins with it.
fn mentions(line: &str, path: &str) -> bool {
    line.match_indices(path)
        .any(|(at, _)| !line[at + path.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// The lines that are part of the library. Unit tests in place end their file; `mod tests;` does not, so
/// what follows it counts.
fn shipped(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let opens = |pair: &[&str]| pair[0].trim() == "#[cfg(test)]" && pair[1].trim_end().ends_with('{');
    let end = lines.windows(2).position(opens).unwrap_or(lines.len());
    lines[..end].iter().map(|line| (*line).to_owned()).collect()
}

/// Every Rust file and shader of the project, with `/` between folders.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> =
        ["src", "shaders", "tests", "examples"].iter().map(|folder| root.join(folder)).collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(&folder).expect("readable").map(|entry| entry.expect("readable").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "wgsl") {
                let name = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
                files.push((name, std::fs::read_to_string(&path).expect("UTF-8")));
            }
        }
    }
    files
}

#[test]
fn the_house_keeps_its_rules() {
    let sources = sources();
    let mut faults = Vec::new();
    for (name, broken_by) in RULES {
        for (path, text) in &sources {
            faults.extend(broken_by(path, text).map(|line| format!("{name}: {path}: {}", line.trim())));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The rules are about folders; a folder that moved would leave them about nothing.
#[test]
fn every_folder_of_the_rules_has_files() {
    let sources = sources();
    for folder in [
        "src/tensor/",
        "src/plan/",
        "src/norm/",
        "src/gpu/",
        "src/cpu/",
        "src/reference/",
        "src/engine/",
        "src/layer/",
        "src/checkpoint/",
        "shaders/",
        "tests/direct/",
    ] {
        assert!(sources.iter().any(|(path, _)| path.starts_with(folder)), "{folder}");
    }
    for file in OWN_A_DEVICE {
        assert!(sources.iter().any(|(path, _)| path == file), "{file}");
    }
}

#[test]
fn every_rule_is_broken_by_its_violation_and_by_no_relative_of_it() {
    let cpu = "src/cpu/mod.rs";
    let long = "x\n".repeat(501);
    let rows: [(Rule, &str, &str, bool); 32] = [
        (no_backend_names_a_norm, cpu, "/// As in batch_norm.", true),
        (no_backend_names_a_norm, cpu, "struct LAYER_NORM;", true),
        (no_backend_names_a_norm, cpu, "use crate::norm::RmsNorm;", true),
        (no_backend_names_a_norm, cpu, "let rms = 0;", true),
        (no_backend_names_a_norm, cpu, "#[cfg(test)]\nmod tests;\nfn group_norm() {}", true),
        (no_backend_names_a_norm, cpu, "#[cfg(test)]\nmod tests {\nuse LayerNorm;\n}", false),
        (no_backend_names_a_norm, cpu, "let harms = batch + norm;", false),
        (no_backend_names_a_norm, "src/norm/mod.rs", "struct LayerNorm;", false),
        (no_backend_imports_what_is_above_it, cpu, "use crate::gpu::Gpu;", true),
        (no_backend_imports_what_is_above_it, cpu, "use crate::norm::Norm;", true),
        (no_backend_imports_what_is_above_it, cpu, "use crate::cpu::rows;", false),
        (no_backend_imports_what_is_above_it, cpu, "use crate::engineering;", false),
        (plan_imports_nothing_but_tensors_and_errors, "src/plan/view.rs", "use crate::norm::Norm;", true),
        (plan_imports_nothing_but_tensors_and_errors, "src/plan/view.rs", "use rayon::join;", true),
        (plan_imports_nothing_but_tensors_and_errors, "src/plan/view.rs", "/// As the CPU, a norm.", false),
        (only_files_that_own_a_device_use_wgpu, "src/gpu/strategy.rs", "use wgpu::Device;", true),
        (only_files_that_own_a_device_use_wgpu, "src/gpu/strategy.rs", "use crate::wgpu;", true),
        (only_files_that_own_a_device_use_wgpu, "src/gpu/variant.rs", "let label = \"wgpu-norm.split\";", false),
        (only_files_that_own_a_device_use_wgpu, "src/gpu/device.rs", "use wgpu::Device;", false),
        (a_shader_begins_by_saying_what_it_is, "shaders/a.wgsl", "struct A {}", true),
        (a_shader_begins_by_saying_what_it_is, "shaders/a.wgsl", "// Merges two partials.\nstruct A {}", false),
        (tensors_know_nothing_above_them, "src/tensor/host.rs", "use crate::plan::Plan;", true),
        (tensors_know_nothing_above_them, "src/tensor/host.rs", "use crate::error::Error;", false),
        (no_norm_knows_a_backend, "src/norm/mod.rs", "use crate::gpu::Gpu;", true),
        (nothing_below_knows_of_layers, "src/engine/mod.rs", "use crate::layer::Layer;", true),
        (nothing_below_knows_of_layers, "src/layer/mod.rs", "use crate::checkpoint::Checkpoint;", true),
        (nothing_below_knows_of_layers, "src/checkpoint/mod.rs", "use crate::layer::Entry;", false),
        (the_oracle_shares_nothing_with_the_library, "tests/direct/mod.rs", "use wgpu_norm::plan::View;", true),
        (the_oracle_shares_nothing_with_the_library, "tests/oracle.rs", "use wgpu_norm::plan::View;", false),
        (a_file_has_500_lines_at_most, cpu, &long, true),
        (a_file_has_500_lines_at_most, cpu, &long[2..], false),
        (no_sum_of_squares_goes_by_its_name, cpu, "let sum_sq = 0;", true),
    ];
    for (rule, path, text, breaks) in rows {
        assert_eq!(rule(path, text).is_some(), breaks, "{path}: {text}");
    }
}
