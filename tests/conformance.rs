//! The conformance cases, through the program, on everything that this machine has.
#![cfg(feature = "cli")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// All cases.
fn files() -> Vec<PathBuf> {
    let entries = |folder: &Path| {
        let entries = std::fs::read_dir(folder).expect("the cases are there");
        entries.map(|entry| entry.expect("readable").path()).collect::<Vec<_>>()
    };
    let mut all: Vec<PathBuf> =
        entries(&cases()).iter().filter(|path| path.is_dir()).flat_map(|folder| entries(folder)).collect();
    all.sort();
    all
}

fn failures(report: &Value) -> Vec<String> {
    let results = report["results"].as_array().cloned().unwrap_or_default();
    results.iter().filter(|row| row["result"] != "pass").map(Value::to_string).collect()
}

fn assert_all_pass(adapter: &str) -> Value {
    let all = files();
    let backward = all.iter().filter(|file| file.to_string_lossy().ends_with("_backward.safetensors")).count();
    assert!(all.len() > 200 && backward > 58, "{} cases, {backward} of them backward", all.len());
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

/// An operation that there is not fails, and says which there are.
#[test]
fn an_unknown_operation_fails_by_name() {
    let original = std::fs::read(cases().join("layer_norm/row_2.safetensors")).expect("the case is there");
    let (name, other) = (b"\"layer_norm\"", b"\"later_norm\"");
    let at = original.windows(name.len()).position(|window| window == name).expect("it names its operation");
    let mut changed = original;
    changed[at..at + other.len()].copy_from_slice(other);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("unknown.safetensors");
    std::fs::write(&path, changed).expect("written");
    let (status, report) = check(&[path], "cpu");
    assert_eq!((status, &report["passed"]), (Some(1), &Value::from(0)), "it does not pass");
    let failures = failures(&report);
    assert!(failures[0].contains("operation: expected one of") && failures[0].contains("later_norm"), "{failures:?}");
}
