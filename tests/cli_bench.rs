//! `wgpu-norm bench`, as a program.
#![cfg(feature = "cli")]

use serde_json::Value;
use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wgpu-norm")).arg("bench").args(arguments).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_workload_is_timed_in_both_passes_and_every_type() {
    let output = bench(&["ln_tiny", "--adapter", "cpu", "--dtype", "f32,f16,bf16", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let results = report["results"].as_array().expect("a list");
    assert_eq!(results.len(), 6, "{report:#}");
    for row in results {
        assert_eq!((&row["workload"], &row["adapter"]), (&"ln_tiny".into(), &"cpu".into()));
        for key in ["median_s", "gb_per_s", "share_of_copy"] {
            assert!(row[key].as_f64().is_some_and(|value| value > 0.0 && value.is_finite()), "{key}: {row:#}");
        }
        assert_eq!(row["errors"]["within_tolerance"], true, "{row:#}");
    }
    let of_type = |name: &str| results.iter().filter(|row| row["dtype"] == name).count();
    assert_eq!(["f32", "f16", "bf16"].map(of_type), [2; 3]);
}

#[test]
fn an_earlier_report_is_compared_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("old.json");
    let now = bench(&["ln_tiny", "--adapter", "cpu", "--pass", "forward", "--json"]);
    let mut report: Value = serde_json::from_slice(&now.stdout).expect("JSON");
    report["results"][0]["median_s"] = 1.0.into();
    report["results"][0]["spread"] = 0.0.into();
    std::fs::write(&path, report.to_string()).expect("written");
    let old = path.to_str().expect("UTF-8");
    let output = bench(&["ln_tiny", "--adapter", "cpu", "--compare", old]);
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{table} {}", text(&output.stderr));
    assert!(table.contains("times the speed of before"), "what took a second takes less: {table}");
    assert!(table.lines().any(|line| line.contains("backward") && line.ends_with("new")), "{table}");
    let output = bench(&["ln_tiny", "--compare", "/nowhere/old.json"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn adapters_are_timed_beside_the_cpu() {
    if std::env::var("WGPU_NORM_TEST_GPU").is_ok_and(|value| value == "off") {
        println!("GPU tests are turned off by WGPU_NORM_TEST_GPU=off");
        return;
    }
    let output = bench(&["ln_t", "--pass", "forward"]);
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{table} {}", text(&output.stderr));
    let lines = |name: &str| table.lines().filter(|line| line.starts_with(name)).count();
    assert!(
        lines("ln_token") >= 3 && lines("ln_tiny") >= 3,
        "the CPU's, an adapter's, and one against the other: {table}"
    );
    assert!(table.contains("resident") && table.contains("times the CPU's speed"), "{table}");
    assert!(!table.contains("FAIL"), "{table}");
}

#[test]
fn what_cannot_be_measured_is_said_and_has_no_speed() {
    // Affine cannot serve a norm of the input's own statistics: what cannot be measured is said, and not a number.
    if std::env::var("WGPU_NORM_TEST_GPU").is_ok_and(|value| value == "off") {
        println!("GPU tests are turned off by WGPU_NORM_TEST_GPU=off");
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_wgpu-norm"))
        .args(["bench", "ln_tiny", "--pass", "forward"])
        .env("WGPU_NORM_STRATEGY", "affine")
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    let table = text(&output.stdout);
    assert!(table.contains("FAIL strategy: affine cannot serve"), "{table}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (arguments, parts) in [
        (&["ln_huge"][..], ["workload: expected the beginning of one of ln_bert", "\"ln_huge\""]),
        (&["--dtype", "f64", "ln_tiny"], ["dtype: expected f32, f16 or bf16", "\"f64\""]),
        (&["--adapter", "reference", "ln_tiny"], ["adapter: the reference", "not timed"]),
        (&["--adapter", "no such card", "ln_tiny"], ["adapter: expected one of", "no such card"]),
    ] {
        let output = bench(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(parts.iter().all(|part| said.contains(part)), "{said:?} does not say {parts:?}");
    }
}
