//! `check`: what it counts, what fails, and how it ends.
#![cfg(feature = "cli")]

#[allow(dead_code, reason = "of what tests of the command line share, a part is needed here")]
#[path = "common/program.rs"]
mod program;

use program::{case, folder, path, program, text, write};
use serde_json::Value;

#[test]
fn check_counts_and_exits_as_it_says() {
    let rows: [(&str, i32, &str); 4] = [
        ("layer_norm/last_1.safetensors", 0, "1 passed, 0 failed, 0 skipped"),
        ("layer_norm/last_1_backward.safetensors", 0, "1 passed, 0 failed, 0 skipped"),
        ("switchable_norm/train_4d.safetensors", 0, "1 passed, 0 failed, 0 skipped"),
        ("README.md", 1, "0 passed, 1 failed, 0 skipped"),
    ];
    for (name, status, closing) in rows {
        let check = program(&["check", &case(name), "--adapter", "cpu"]);
        let report = text(&check.stdout);
        assert_eq!(check.status.code(), Some(status), "{name}: {report}");
        assert_eq!(report.lines().last(), Some(closing), "{name}");
        let first = if status == 0 { "pass " } else { "FAIL " };
        assert!(report.starts_with(first), "{name}: {report}");
    }
    let folder = folder();
    let missing = path(&folder, "missing.safetensors");
    let check = program(&["check", &case(rows[0].0), &missing, "--adapter", "cpu"]);
    let report = text(&check.stdout);
    assert_eq!(check.status.code(), Some(1), "{report}");
    assert!(report.contains("FAIL ") && report.ends_with("1 passed, 1 failed, 0 skipped\n"), "{report}");
    for nothing in [path(&folder, "nowhere"), path(&folder, "")] {
        let check = program(&["check", &nothing]);
        assert_eq!(check.status.code(), Some(2), "{}", text(&check.stderr));
    }
}

/// A case whose expectation is changed by hand has to fail: the comparison compares.
#[test]
fn check_fails_a_case_that_expects_something_else() {
    let folder = folder();
    let original = std::fs::read(case("layer_norm/row_2.safetensors")).expect("the case is there");
    let length = usize::try_from(u64::from_le_bytes(original[..8].try_into().expect("8 bytes"))).expect("short");
    let header: Value = serde_json::from_slice(&original[8..8 + length]).expect("JSON");
    let offset = header["expected.output"]["data_offsets"][0].as_u64().expect("an offset");
    let place = 8 + length + usize::try_from(offset).expect("short");
    let mut changed = original.clone();
    let value = f32::from_le_bytes(changed[place..place + 4].try_into().expect("4 bytes"));
    changed[place..place + 4].copy_from_slice(&(value + 1e-3).to_le_bytes());
    let file = write(&folder, "changed.safetensors", &changed);
    let check = program(&["check", &file, "--adapter", "cpu"]);
    assert_eq!(check.status.code(), Some(1), "{}", text(&check.stdout));
    assert!(text(&check.stdout).contains("output[0]"), "{}", text(&check.stdout));
}

#[test]
fn a_folder_is_searched_in_order() {
    let check = program(&["check", &case("rms_norm"), "--adapter", "cpu", "--json"]);
    let report: Value = serde_json::from_slice(&check.stdout).expect("JSON");
    let cases: Vec<&str> =
        report["results"].as_array().expect("a list").iter().filter_map(|row| row["case"].as_str()).collect();
    let mut sorted = cases.clone();
    sorted.sort_unstable();
    assert!(cases.len() > 10 && cases == sorted, "{cases:?}");
}
