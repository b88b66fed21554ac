//! `--disable-feature`: every adapter as one that has nothing optional.
#![cfg(feature = "cli")]

#[allow(dead_code, reason = "of what tests of the command line share, a part is needed here")]
#[path = "common/program.rs"]
mod program;

use program::{program, without_gpu};
use serde_json::Value;
use std::path::Path;

const ALL: &str = "subgroup,f16,immediates,timestamp";

#[test]
fn a_feature_that_there_is_not_is_refused_with_those_that_there_are() {
    for command in [&["check", "tests/cases"][..], &["run", "layer_norm", "x.npy"], &["bench"]] {
        let output = program(&[command, &["--disable-feature", "subgroup,wings"]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
        for part in ["wings", "--disable-feature", "subgroup", "f16", "immediates", "timestamp"] {
            assert!(said.contains(part), "{command:?}: {said:?} does not say {part:?}");
        }
    }
}

#[test]
fn cases_pass_without_any_optional_feature_and_the_certificate_says_what_lacks() {
    if without_gpu() {
        return;
    }
    let cases = "tests/cases/rms_norm";
    let output = program(&["check", cases, "--adapter", "all", "--json", "--disable-feature", ALL]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let report: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    let adapters = report["adapters"].as_array().expect("a list");
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join(cases).read_dir().expect("the cases are there").count();
    assert_eq!(report["passed"], Value::from(files * adapters.len()), "every case on every adapter");
    let is_adapter = |adapter: &&Value| adapter["type"] != "Host";
    assert!(adapters.iter().any(|adapter| is_adapter(&adapter)), "there is an adapter");
    for adapter in adapters.iter().filter(is_adapter) {
        for name in ["SUBGROUP", "SHADER_F16", "IMMEDIATES", "TIMESTAMP_QUERY"] {
            let has = |list: &str| adapter[list].as_array().is_some_and(|names| names.contains(&Value::from(name)));
            assert!(has("lacks") && !has("features"), "{name}: {adapter:#}");
        }
    }
}

#[test]
fn run_does_without_and_says_where_it_ran() {
    if without_gpu() {
        return;
    }
    let listed = program(&["adapters", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("it prints JSON");
    let adapters = listed["adapters"].as_array().expect("a list").iter().filter(|adapter| adapter["type"] != "host");
    let names: Vec<&str> = adapters.filter_map(|adapter| adapter["name"].as_str()).collect();
    assert!(!names.is_empty(), "there is an adapter");
    let case = "tests/cases/layer_norm/row_2.safetensors";
    for name in names {
        let places = ["--tensor", "input", "--adapter", name, "--disable-feature", ALL, "--verify", "--json"];
        let output = program(&[&["run", "layer_norm", case], &places[..]].concat());
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_str(&said).expect("it prints JSON");
        assert!(report["adapter"] == name && report["fallback"].is_null(), "{report:#}");
    }
}
