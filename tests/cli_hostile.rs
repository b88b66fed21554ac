//! What a hostile or mistaken file must not talk the program into: a pass, a forged report, a panic, a wait.
#![cfg(feature = "cli")]

#[allow(dead_code, reason = "of what tests of the command line share, a part is needed here")]
#[path = "common/program.rs"]
mod program;

use program::{folder, path, program, text, write};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A `.safetensors` file of f32 tensors: metadata, then each name, shape and values.
fn file(metadata: &Value, tensors: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
    let mut header = json!({ "__metadata__": metadata });
    let mut data = Vec::new();
    for (name, shape, values) in tensors {
        let start = data.len();
        data.extend(bytes(values));
        header[*name] = json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, data.len()] });
    }
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

fn layer_norm(rtol: &str) -> Value {
    json!({ "op": "layer_norm", "attrs": "{\"normalized_shape\": [2], \"eps\": 0}", "rtol": rtol, "atol": "1e-6" })
}

/// The input `[[1, 3]]` gives `[[-1, 1]]`, and one with a NaN gives NaN; nothing else may pass.
#[test]
fn nan_and_infinity_pass_for_nothing_but_themselves() {
    const NAN: f32 = f32::NAN;
    const INF: f32 = f32::INFINITY;
    let cases: [([f32; 2], [f32; 2], bool); 8] = [
        ([1.0, 3.0], [-1.0, 1.0], true),
        ([1.0, NAN], [NAN, NAN], true),
        ([1.0, 3.0], [NAN, 1.0], false),
        ([1.0, 3.0], [-1.0, INF], false),
        ([1.0, 3.0], [-INF, 1.0], false),
        ([1.0, NAN], [NAN, INF], false),
        ([1.0, NAN], [NAN, 0.0], false),
        ([1.0, 3.0], [-1.0, 1.1], false),
    ];
    let folder = folder();
    for (input, want, passes) in cases {
        let case = file(&layer_norm("1e-5"), &[("input", &[1, 2], &input), ("expected.output", &[1, 2], &want)]);
        let case = write(&folder, "case.safetensors", &case);
        for adapter in ["reference", "cpu"] {
            let check = program(&["check", &case, "--adapter", adapter]);
            let status = if passes { 0 } else { 1 };
            assert_eq!(check.status.code(), Some(status), "{input:?} as {want:?}: {}", text(&check.stdout));
        }
    }
}

/// The output is a little off, the mean by much: that is what the line and the certificate are about.
#[test]
fn the_worst_of_all_tensors_is_told() {
    let metadata =
        json!({ "op": "batch_norm", "attrs": "{\"training\": true, \"eps\": 0}", "rtol": "0", "atol": "1e-3" });
    let tensors: [(&str, &[usize], &[f32]); 6] = [
        ("input", &[2, 1], &[1.0, 3.0]),
        ("running_mean", &[1], &[0.0]),
        ("running_var", &[1], &[1.0]),
        ("expected.output", &[2, 1], &[-1.0, 1.01]),
        ("expected.running_mean", &[1], &[5.2]),
        ("expected.running_var", &[1], &[1.1]),
    ];
    let folder = folder();
    let case = write(&folder, "case.safetensors", file(&metadata, &tensors));
    for adapter in ["reference", "cpu"] {
        let check = program(&["check", &case, "--adapter", adapter, "--json"]);
        assert_eq!(check.status.code(), Some(1), "{}", text(&check.stdout));
        let certificate: Value = serde_json::from_slice(&check.stdout).expect("JSON");
        let row = &certificate["results"][0];
        let reason = row["reason"].as_str().expect("a reason");
        assert!(reason.starts_with("running_mean[0]: ") && reason.contains("5000"), "{reason}");
        let worst = row["worst_error_over_tolerance"].as_f64().expect("a number");
        assert!((worst - 5000.0).abs() < 1.0, "{worst}");
        assert_eq!(certificate["adapters"][0]["all"]["worst_error_over_tolerance"], row["worst_error_over_tolerance"]);
    }
}

/// Cases that must fail, each with the part of the reason that names the fault.
#[test]
fn a_case_cannot_loosen_the_rules() {
    let right: (&str, &[usize], &[f32]) = ("expected.output", &[1, 2], &[-1.0, 1.0]);
    let input: (&str, &[usize], &[f32]) = ("input", &[1, 2], &[1.0, 3.0]);
    let batch = json!({ "op": "batch_norm", "attrs": "{\"training\": true}", "rtol": "1", "atol": "1" });
    let mut null = layer_norm("1e-5");
    null["attrs"] = json!("{\"eps\": null}");
    let cases = [
        ("endless tolerance", file(&layer_norm("inf"), &[input, right]), "rtol"),
        ("no number", file(&layer_norm("NaN"), &[input, right]), "rtol"),
        ("eps that is null", file(&null, &[input, right, ("weight", &[2], &[1.0, 1.0])]), "eps"),
        ("another tensor", file(&layer_norm("1"), &[input, right, ("wieght", &[2], &[1.0, 1.0])]), "wieght"),
        (
            "a result of another operation",
            file(&layer_norm("1"), &[input, right, ("expected.mean", &[1], &[99.0])]),
            "expected.mean: not known",
        ),
        (
            "a gradient of what is not there",
            file(
                &json!({ "op": "filter_response_norm", "attrs": "{}", "rtol": "1", "atol": "1" }),
                &[
                    ("input", &[1, 1, 2], &[1.0, 3.0]),
                    ("tau", &[1], &[0.0]),
                    ("grad_output", &[1, 1, 2], &[0.0, 0.0]),
                    ("expected.grad_tau", &[1], &[0.0]),
                    ("expected.grad_eps_l", &[1], &[99.0]),
                ],
            ),
            "grad_eps_l: expected, but there is none",
        ),
        (
            "a gradient that nobody has",
            file(
                &layer_norm("1"),
                &[input, ("grad_output", &[1, 2], &[0.0, 0.0]), ("expected.grad_running_mean", &[2], &[9.0, 9.0])],
            ),
            "expected.grad_running_mean: not known",
        ),
        (
            "another operation's weight",
            file(&layer_norm("1"), &[input, right, ("gamma", &[2], &[5.0, 5.0])]),
            "gamma: not known",
        ),
        (
            "an inflow of nothing",
            file(&layer_norm("1"), &[input, right, ("grad_mean", &[1], &[5.0])]),
            "grad_mean: not known",
        ),
        ("no expectation", file(&layer_norm("1"), &[input]), "expects nothing"),
        ("another shape", file(&layer_norm("1"), &[input, ("expected.output", &[2, 1], &[-1.0, 1.0])]), "shape"),
        (
            "an estimate with an axis more",
            file(
                &batch,
                &[
                    ("input", &[2, 2], &[1.0, 2.0, 3.0, 4.0]),
                    ("running_mean", &[2, 1], &[0.0, 0.0]),
                    ("running_var", &[2], &[1.0, 1.0]),
                    ("expected.running_var", &[2], &[1.0, 1.0]),
                ],
            ),
            "running_mean: expected one axis, that of channels, got shape [2, 1]",
        ),
        (
            "another shape of an estimate",
            file(
                &batch,
                &[
                    ("input", &[2, 2], &[1.0, 2.0, 3.0, 4.0]),
                    ("running_mean", &[2], &[0.0, 0.0]),
                    ("running_var", &[2], &[1.0, 1.0]),
                    ("expected.running_mean", &[1, 2], &[0.2, 0.3]),
                ],
            ),
            "running_mean: shape [2], expected [1, 2]",
        ),
        (
            "a line of a report in a name",
            file(&layer_norm("1"), &[input, right, ("x\n1 passed, 0 failed, 0 skipped\r", &[0], &[])]),
            "not known",
        ),
    ];
    let folder = folder();
    for (name, case, part) in cases {
        let case = write(&folder, "case.safetensors", &case);
        let check = program(&["check", &case, "--adapter", "cpu"]);
        let report = text(&check.stdout);
        assert_eq!(check.status.code(), Some(1), "{name}: {report}");
        assert!(report.contains(part), "{name}: {report:?} does not say {part:?}");
        assert_eq!(report.lines().count(), 2, "{name}: one line a case, one to close: {report:?}");
        assert_eq!(report.lines().last(), Some("0 passed, 1 failed, 0 skipped"), "{name}");
    }
}

fn refused(arguments: &[&str], part: &str) {
    let run = program(arguments);
    let message = text(&run.stderr);
    assert_eq!(run.status.code(), Some(2), "{arguments:?}: {message}");
    assert!(message.starts_with("error: ") && message.contains(part), "{message:?} does not say {part:?}");
    assert_eq!(message.lines().count(), 1, "one line: {message:?}");
}

/// ndarray-npy believes such a shape, since it holds no value, and panics.
#[test]
fn axes_that_overflow_beside_an_axis_of_0_are_refused() {
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 9223372036854775807, 9), }\n";
    let length = u16::try_from(header.len()).expect("short").to_le_bytes();
    let npy = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes()].concat();
    let folder = folder();
    let input = write(&folder, "x.npy", &npy);
    refused(&["run", "layer_norm", &input, "--adapter", "cpu"], "shape");
}

/// Parameters that are asked for and not found are never left out in silence.
#[test]
fn parameters_that_are_asked_for_are_found_or_refused() {
    let folder = folder();
    let input = file(&json!({}), &[("input", &[1, 2], &[1.0, 3.0])]);
    let input = write(&folder, "x.safetensors", &input);
    let model = file(&json!({}), &[("model.norm.weight", &[2], &[2.0, 4.0]), ("model.head", &[1], &[0.0])]);
    let model = write(&folder, "model.safetensors", &model);
    let run = |more: &[&'static str]| [&["run", "layer_norm", &input, "--params", &model], more].concat();
    refused(&run(&[]), "--prefix; there is model.norm");
    refused(&run(&["--prefix", "model"]), "there is model.norm");
    assert!(program(&run(&["--prefix", "model.norm", "--adapter", "cpu"])).status.success(), "the layer is there");
}

#[test]
fn attributes_of_a_case_that_cannot_be_read_are_not_ignored() {
    let folder = folder();
    let mut metadata = layer_norm("1e-5");
    for attrs in ["{oops", "[]"] {
        metadata["attrs"] = json!(attrs);
        let input = write(&folder, "x.safetensors", file(&metadata, &[("input", &[1, 2], &[1.0, 3.0])]));
        refused(&["run", "layer_norm", &input, "--adapter", "cpu"], "metadata attrs");
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_rather_than_waited_for() {
    let folder = folder();
    let pipe = folder.path().join("x.npy").to_string_lossy().into_owned();
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo starts").success(), "a pipe for the test");
    refused(&["run", "layer_norm", &pipe, "--adapter", "cpu"], "expected a file");
}

/// Links that run in circles: each case runs once, and the search ends.
#[cfg(unix)]
#[test]
fn links_in_circles_are_searched_once() {
    let folder = folder();
    let right: (&str, &[usize], &[f32]) = ("expected.output", &[1, 2], &[-1.0, 1.0]);
    write(&folder, "case.safetensors", file(&layer_norm("1e-5"), &[("input", &[1, 2], &[1.0, 3.0]), right]));
    for name in ["a", "b"] {
        std::os::unix::fs::symlink(folder.path(), folder.path().join(name)).expect("a link");
    }
    let check = program(&["check", &folder.path().to_string_lossy(), "--adapter", "cpu"]);
    assert_eq!(text(&check.stdout).lines().last(), Some("1 passed, 0 failed, 0 skipped"), "{}", text(&check.stderr));
}

/// What a user keeps private stays so.
#[cfg(unix)]
#[test]
fn the_output_honours_the_users_mask() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let input = write(&folder, "x.safetensors", file(&json!({}), &[("input", &[1, 2], &[1.0, 3.0])]));
    let written = |mask: &str, output: &Path| {
        let line = format!("umask {mask} && exec \"$0\" run layer_norm \"$1\" -o \"$2\" --adapter cpu");
        let mut shell = Command::new("sh");
        shell.args(["-c", &line, env!("CARGO_BIN_EXE_wgpu-norm"), &input]).arg(output);
        assert!(shell.output().expect("sh starts").status.success(), "umask {mask}");
        std::fs::metadata(output).expect("written").permissions().mode() & 0o777
    };
    for (mask, mode) in [("022", 0o644), ("077", 0o600)] {
        let output = folder.path().join(mask).with_extension("npy");
        assert_eq!(written(mask, &output), mode, "umask {mask}");
    }
    // What is there already was made for whom it concerns, and is where a link leads to.
    let kept = folder.path().join("kept.npy");
    std::fs::write(&kept, "old").expect("written");
    std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o640)).expect("ours");
    let link = folder.path().join("link.npy");
    std::os::unix::fs::symlink(&kept, &link).expect("a link");
    assert_eq!(written("022", &link), 0o640);
    assert!(link.is_symlink() && std::fs::read(&kept).expect("there") != b"old", "the file is new, the link is not");
}

/// A device or a pipe is no place for a file that appears when it is whole.
#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_replaced() {
    let folder = folder();
    let input = write(&folder, "x.safetensors", file(&json!({}), &[("input", &[1, 2], &[1.0, 3.0])]));
    let link = path(&folder, "null.npy");
    std::os::unix::fs::symlink("/dev/null", &link).expect("a link");
    let output = program(&["run", "layer_norm", &input, "-o", &link, "--adapter", "cpu"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("null.npy") && said.contains("expected a file"), "{said}");
    let nowhere = path(&folder, "nowhere.npy");
    std::os::unix::fs::symlink(folder.path().join("not here"), &nowhere).expect("a link");
    let output = program(&["run", "layer_norm", &input, "-o", &nowhere, "--adapter", "cpu"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(Path::new(&nowhere).is_symlink(), "the link is there");
    assert!(!Path::new("/dev/null").metadata().expect("there").is_file(), "it is what it was");
}
