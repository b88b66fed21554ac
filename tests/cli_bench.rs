//! `wgpu-norm bench`, as a program.
#![cfg(feature = "cli")]

#[allow(dead_code, reason = "of what tests of the command line share, a part is needed here")]
#[path = "common/program.rs"]
mod program;

use program::{program, text, without_gpu};
use serde_json::Value;
use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Output {
    program(&[&["bench"], arguments].concat())
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
    if without_gpu() {
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
    let on_adapters: Vec<&str> =
        table.lines().filter(|line| line.starts_with("ln_t") && line.contains('%') && !line.ends_with("cpu")).collect();
    let is_told = |line: &&str| line.ends_with("streaming") || line.ends_with("resident");
    assert!(on_adapters.len() >= 2 && on_adapters.iter().all(is_told), "the strategy of each: {table}");
    assert!(table.contains("times the CPU's speed"), "{table}");
    assert!(!table.contains("FAIL"), "{table}");
}

#[test]
fn adapters_tell_what_is_around_a_call() {
    if without_gpu() {
        return;
    }
    let output = bench(&["ln_tiny", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    let is_positive = |value: &Value| value.as_f64().is_some_and(|value| value > 0.0 && value.is_finite());
    let of_adapters = |list: &str| {
        let rows = report[list].as_array().expect("a list").clone();
        rows.into_iter().filter(|row| row["adapter"] != "cpu").collect::<Vec<_>>()
    };
    let rows = of_adapters("results");
    assert!(rows.len() >= 2, "forward and backward: {report:#}");
    for row in rows {
        for key in ["with_transfer_s", "first_call_s", "record_whole_s", "times_the_cpu", "times_the_cpu_with_transfer"]
        {
            assert!(is_positive(&row[key]), "{key}: {row:#}");
        }
        assert!(row["record_s"].as_f64().is_some_and(|value| value >= 0.0), "{row:#}");
        assert_eq!(row["shape"], serde_json::json!([1, 64]));
        let by = row["timed_by"].as_str().expect("a clock");
        assert!(by == "timestamps" || by.starts_with("wall time over batches"), "{by}");
    }
    let copies = of_adapters("copies");
    for kind in ["copy kernel", "copy_buffer_to_buffer"] {
        let copy = copies.iter().find(|copy| copy["copy"] == kind).expect(kind);
        assert!(is_positive(&copy["gb_per_s"]), "{copy:#}");
    }
    assert!(report["places"][1]["driver"].is_string() && report["places"][1]["backend"].is_string(), "{report:#}");
}

#[test]
fn a_report_begins_with_who_measured_what() {
    let output = bench(&["ln_tiny", "--adapter", "cpu", "--pass", "forward", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["command"], "wgpu-norm bench ln_tiny --adapter cpu --pass forward --json");
    assert_eq!(report["wgpu_norm"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["places"][0]["name"], "cpu");
    assert!(report["date"].as_str().is_some_and(|date| date.starts_with("20") && date.ends_with("UTC")), "{report:#}");
    for key in ["seconds_since_1970", "cpu_threads"] {
        assert!(report[key].as_u64().is_some_and(|value| value > 0), "{key}: {report:#}");
    }
    let row = &report["results"][0];
    let (tensor, parameters) = (64 * 4, 2 * 64 * 4);
    assert_eq!((&row["floor_bytes"], &row["bytes"]), (&(2 * tensor).into(), &(2 * tensor + parameters).into()));
    let memcpy = &report["copies"][0];
    assert_eq!((&memcpy["copy"], &memcpy["bytes"]), (&"memcpy".into(), &(64 << 20).into()));
}

#[test]
fn a_sweep_is_selected_by_the_beginning_of_its_name() {
    let output = bench(&["sweep_columns_1638", "--adapter", "cpu", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let results = report["results"].as_array().expect("a list");
    assert_eq!(results.len(), 2, "{report:#}");
    assert!(results.iter().all(|row| row["workload"] == "sweep_columns_16384"), "{report:#}");
    assert!(results.iter().all(|row| row["shape"] == serde_json::json!([4, 16384])), "{report:#}");
    assert!(report["cliffs"].is_array() && report["break_even"].is_array(), "{report:#}");
}

#[test]
fn break_even_is_told_where_a_sweep_was_measured() {
    if without_gpu() {
        return;
    }
    let output = bench(&["sweep_columns_1638", "--pass", "forward"]);
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{table} {}", text(&output.stderr));
    assert!(table.contains("break-even: columns f32 forward on "), "{table}");
    assert!(table.contains("with upload and readback"), "{table}");
}

#[test]
fn a_report_is_one_page_that_needs_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bench.html");
    let path = path.to_str().expect("UTF-8");
    let output = bench(&["ln_tiny", "sweep_columns_1638", "--adapter", "cpu", "--report", path]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let page = std::fs::read_to_string(path).expect("written");
    // The CPU's bandwidth, and a sweep in either pass.
    assert_eq!((page.matches("<svg ").count(), page.matches("</svg>").count()), (3, 3));
    for elsewhere in ["http:", "https:", "src=", "href=", "url(", "@import", "<script"] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    for part in ["ln_tiny", "sweep_columns_16384", "memcpy", "forward", "backward", env!("CARGO_PKG_VERSION")] {
        assert!(page.contains(part), "{part}");
    }
    let left = std::fs::read_dir(folder.path()).expect("readable").count();
    assert_eq!(left, 1, "nothing but the page");
}

#[test]
fn a_report_compares_adapters_with_the_cpu() {
    if without_gpu() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bench.html");
    let path = path.to_str().expect("UTF-8");
    let output = bench(&["ln_tiny", "--pass", "forward", "--report", path]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let page = std::fs::read_to_string(path).expect("written");
    let adapters = page.matches("against the CPU\"").count();
    assert!(adapters >= 1, "one panel an adapter");
    assert_eq!(page.matches("<svg ").count(), 1 + 2 * adapters, "bandwidth of all, and adapters against the CPU");
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_anything_is_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let inside = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    std::fs::create_dir(inside("folder.html")).expect("made");
    for (path, said) in [
        (inside("nowhere/bench.html"), "expected a folder to write to"),
        (inside("folder.html"), "expected a file, got the folder"),
        (inside("bench.json"), "expected a name that ends in .html"),
    ] {
        let output = bench(&["ln_tiny", "--adapter", "cpu", "--report", &path]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(said) && error.contains(&path), "{error}");
        assert!(output.stdout.is_empty(), "nothing was measured: {}", text(&output.stdout));
    }
}

#[test]
fn what_cannot_be_measured_is_said_and_has_no_speed() {
    // Affine cannot serve a norm of the input's own statistics: what cannot be measured is said, and not a number.
    if without_gpu() {
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
fn a_report_of_another_kind_is_not_compared_with() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let other = folder.path().join("check.json");
    std::fs::write(&other, r#"{"results": [{"case": "a", "adapter": "cpu"}]}"#).expect("written");
    let other = other.to_string_lossy();
    let output = bench(&["ln_tiny", "--adapter", "cpu", "--pass", "forward", "--compare", &other]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("check.json: expected a report of bench --json"), "{said}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (arguments, parts) in [
        (&["ln_huge"][..], ["workload: expected the beginning of one of ln_bert", "\"ln_huge\""]),
        (&["--dtype", "f64", "ln_tiny"], ["dtype: expected f32, f16 or bf16", "\"f64\""]),
        (&["--adapter", "reference", "ln_tiny"], ["adapter: the reference", "not timed"]),
        (
            &["--adapter", "no such card", "ln_tiny"],
            ["adapter: expected one of [auto, all, cpu, reference", "no such card"],
        ),
    ] {
        let output = bench(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(parts.iter().all(|part| said.contains(part)), "{said:?} does not say {parts:?}");
    }
}
