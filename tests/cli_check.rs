//! `check`: what it counts, what fails, and how it ends.
#![cfg(feature = "cli")]

#[allow(dead_code, reason = "of what tests of the command line share, a part is needed here")]
#[path = "common/program.rs"]
mod program;

use half::bf16;
use program::{case, folder, path, program, text, write};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use std::collections::HashMap;

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

/// `check` on the CPU of one synchronized case, with a bias of bf16, of ranks with so many samples each.
fn check_shares(grad_output: &[f32], splits: &[i64]) -> (Option<i32>, String) {
    let folder = folder();
    let bytes = |values: &[f32]| values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect::<Vec<u8>>();
    let samples = grad_output.len();
    let input: Vec<f32> = (0..samples).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let sum = grad_output.iter().sum();
    let tensors = [
        ("input", vec![samples, 1], bytes(&input)),
        ("bias", vec![1], bytes(&[0.0])),
        ("grad_output", vec![samples, 1], bytes(grad_output)),
        ("expected.grad_bias", vec![1], bytes(&[sum])),
    ];
    let splits_stored: Vec<u8> = splits.iter().flat_map(|n| n.to_le_bytes()).collect();
    let mut views = vec![("splits", TensorView::new(Dtype::I64, vec![splits.len()], &splits_stored).expect("fits"))];
    for (name, shape, bytes) in &tensors {
        views.push((*name, TensorView::new(Dtype::BF16, shape.clone(), bytes).expect("fits")));
    }
    let attributes = format!(r#"{{"training": true, "track_running_stats": false, "world_size": {}}}"#, splits.len());
    let metadata =
        [("op", "sync_batch_norm"), ("attrs", &attributes), ("rtol", "0"), ("atol", "0"), ("source", "by hand")];
    let metadata: HashMap<String, String> = metadata.map(|(key, value)| (key.into(), value.into())).into();
    let file = write(&folder, "shares.safetensors", safetensors::serialize(views, Some(metadata)).expect("fits"));
    let check = program(&["check", &file, "--adapter", "cpu"]);
    (check.status.code(), text(&check.stdout))
}

/// The first rank's share of the bias' gradient is 1 + 2^-8, of which bf16 would leave 1, and the second's -1.
#[test]
fn shares_of_gradients_are_added_up_before_they_are_rounded() {
    let (status, report) = check_shares(&[1.0, 0.003_906_25, -1.0, 0.0], &[2, 2]);
    assert_eq!(status, Some(0), "{report}");
}

#[test]
fn ranks_beyond_what_one_process_has_threads_for_are_refused() {
    let (status, report) = check_shares(&vec![0.0; 1025], &[1; 1025]);
    assert_eq!(status, Some(1), "{report}");
    assert!(report.contains("world_size: expected 1 to 1024, got 1025"), "{report}");
}
