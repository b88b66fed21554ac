//! The conformance cases, through the program, on everything that this machine has.
#![cfg(feature = "cli")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folders whose operations there are.
const IMPLEMENTED: [&str; 11] = [
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
    "filter_response_norm",
];

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

/// Runs `check`; returns its exit status and its report.
fn check(paths: &[PathBuf], adapter: &str) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_wgpu-norm"))
        .arg("check")
        .args(paths)
        .args(["--adapter", adapter, "--json"])
        .output()
        .expect("the program starts");
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {} {}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    });
    (output.status.code(), report)
}

/// The files of the folders that `is_wanted` takes.
fn files(is_wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for folder in std::fs::read_dir(cases()).expect("the cases are there").map(|e| e.expect("readable").path()) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if folder.is_dir() && is_wanted(&name) {
            all.extend(std::fs::read_dir(&folder).expect("readable").map(|e| e.expect("readable").path()));
        }
    }
    all.sort();
    all
}

fn failures(report: &Value) -> Vec<String> {
    let results = report["results"].as_array().cloned().unwrap_or_default();
    results.iter().filter(|row| row["result"] != "pass").map(Value::to_string).collect()
}

fn assert_all_pass(adapter: &str) -> Value {
    let all = files(|op| IMPLEMENTED.contains(&op));
    let backward = all.iter().filter(|file| file.to_string_lossy().ends_with("_backward.safetensors")).count();
    assert!(all.len() > 185 && backward > 54, "{} cases, {backward} of them backward", all.len());
    let (status, report) = check(&all, adapter);
    assert!(failures(&report).is_empty(), "{:#?}", failures(&report));
    assert_eq!(status, Some(0), "exit status on {adapter}");
    assert_eq!(report["skipped"], 0, "nothing is skipped on {adapter}");
    report
}

#[test]
fn every_case_passes_on_the_reference_and_the_cpu() {
    for adapter in ["reference", "cpu"] {
        let report = assert_all_pass(adapter);
        println!("{adapter}: {} passed", report["passed"]);
    }
}

#[test]
fn every_case_passes_on_every_adapter() {
    if std::env::var("WGPU_NORM_TEST_GPU").is_ok_and(|v| v == "off") {
        println!("GPU tests are turned off by WGPU_NORM_TEST_GPU=off");
        return;
    }
    let report = assert_all_pass("all");
    let results = report["results"].as_array().expect("a list");
    let mut adapters: Vec<&str> = results.iter().filter_map(|row| row["adapter"].as_str()).collect();
    adapters.sort_unstable();
    adapters.dedup();
    assert!(adapters.len() > 2, "no GPU adapter among {adapters:?}: see the README for what to install");
    println!("{} passed on {adapters:?}", report["passed"]);
}

/// What is not there yet fails and says so. Whoever adds it moves it to `IMPLEMENTED`.
#[test]
fn what_is_not_implemented_fails_by_name() {
    let missing = files(|op| !IMPLEMENTED.contains(&op));
    assert!(missing.len() > 12, "{} cases", missing.len());
    let (status, report) = check(&missing, "cpu");
    assert_eq!((status, &report["passed"]), (Some(1), &Value::from(0)), "nothing of it passes");
    for row in failures(&report) {
        assert!(row.contains("operation: expected one of"), "{row}");
    }
}
