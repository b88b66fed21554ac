//! The program as a person or a script meets it: results, exit statuses, refusals.
#![cfg(feature = "cli")]

#[allow(dead_code, reason = "of what tests of the command line share, a part is needed here")]
#[path = "common/program.rs"]
mod program;

use program::{case, folder, path, program, text, without_gpu, write};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// A `.npy` file: version, header, data.
fn npy(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x93, b'N', b'U', b'M', b'P', b'Y', version, 0];
    match version {
        1 => bytes.extend(u16::try_from(header.len()).expect("short").to_le_bytes()),
        _ => bytes.extend(u32::try_from(header.len()).expect("short").to_le_bytes()),
    }
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn header(descriptor: &str, order: &str, shape: &str) -> String {
    format!("{{'descr': '{descriptor}', 'fortran_order': {order}, 'shape': {shape}, }}\n")
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// The f32 values at the end of a file that holds nothing after them.
fn last_floats(path: &str, count: usize) -> Vec<f32> {
    let bytes = std::fs::read(path).expect("the output is there");
    bytes[bytes.len() - 4 * count..].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

#[test]
fn run_normalizes_npy_files_of_either_order() {
    let folder = folder();
    for (order, values) in [("False", [1.0, 2.0, 3.0, 4.0, 6.0, 8.0]), ("True", [1.0, 4.0, 2.0, 6.0, 3.0, 8.0])] {
        for version in [1, 2, 3] {
            let input = write(&folder, "x.npy", npy(version, &header("<f4", order, "(2, 3)"), &floats(&values)));
            let output = path(&folder, "y.npy");
            let run = program(&["run", "layer_norm", &input, "-o", &output, "--adapter", "cpu", "--verify"]);
            assert!(run.status.success(), "{}", text(&run.stderr));
            let got = last_floats(&output, 6);
            let want = [-1.224_735_7, 0.0, 1.224_735_7, -1.224_742_6, 0.0, 1.224_742_6];
            for (got, want) in got.iter().zip(want) {
                assert!((got - want).abs() < 2e-6, "order {order}: {got} instead of {want}");
            }
        }
    }
}

#[test]
fn run_reads_f16_and_scalars_of_parameters() {
    let folder = folder();
    let halves: Vec<u8> = [1.0, 2.0, 3.0, 6.0].iter().flat_map(|&v| half::f16::from_f64(v).to_le_bytes()).collect();
    let input = write(&folder, "x.npy", npy(1, &header("<f2", "False", "(1, 4)"), &halves));
    let run = program(&["run", "rms_norm", &input, "--adapter", "cpu", "--verify", "--json"]);
    let report: Value = serde_json::from_slice(&run.stdout).expect("JSON");
    assert_eq!((report["dtype"].as_str(), report["verify"]["within_tolerance"].as_bool()), (Some("f16"), Some(true)));
}

#[test]
fn run_takes_one_layer_of_a_model_by_its_prefix() {
    let folder = folder();
    let input = write(&folder, "x.npy", npy(1, &header("<f4", "False", "(1, 2)"), &floats(&[1.0, 3.0])));
    let model = safetensors(
        r#"{"model.norm.bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"model.norm.weight":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}"#,
        &floats(&[10.0, 20.0, 2.0, 4.0]),
    );
    let model = write(&folder, "model.safetensors", &model);
    let output = path(&folder, "y.npy");
    for prefix in ["model.norm", "model.norm."] {
        let run = program(&[
            "run",
            "layer_norm",
            &input,
            "-o",
            &output,
            "--params",
            &model,
            "--prefix",
            prefix,
            "--adapter",
            "cpu",
        ]);
        assert!(run.status.success(), "{}", text(&run.stderr));
        let got = last_floats(&output, 2);
        assert!((got[0] - 8.0).abs() < 1e-3 && (got[1] - 24.0).abs() < 1e-3, "{got:?}");
    }
    let run = program(&["run", "layer_norm", &input, "--params", &model, "--prefix", "model.nrm"]);
    assert_eq!(run.status.code(), Some(2));
    assert!(text(&run.stderr).contains("model.norm"), "a near name is offered: {}", text(&run.stderr));
}

#[test]
fn run_verifies_the_main_job_and_says_where_it_ran() {
    let folder = folder();
    let output = path(&folder, "y.safetensors");
    let input = case("layer_norm/real_minilm_06.safetensors");
    let run = program(&["run", "layer_norm", &input, "-o", &output, "--adapter", "cpu", "--verify"]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert!(text(&run.stderr).contains("on the CPU; for a GPU"), "{}", text(&run.stderr));
    assert!(text(&run.stdout).contains("against the f64 reference"), "{}", text(&run.stdout));
    assert!(Path::new(&output).exists(), "the output is written");
}

#[test]
fn what_is_not_finite_is_counted() {
    let folder = folder();
    let rows = [1.0, 2.0, 3.0, f32::NAN, 5.0, 6.0];
    for (rows, says, counted) in [
        (&rows[..], "mean 0.0000e0, from -1.2247 to 1.2247, 3 not finite, in", 3),
        (&[f32::NAN; 6], "no finite value, 6 not finite, in", 6),
    ] {
        let input = write(&folder, "x.npy", npy(1, &header("<f4", "False", "(2, 3)"), &floats(rows)));
        let run = ["run", "layer_norm", &input, "--adapter", "cpu"];
        let said = text(&program(&run).stdout);
        assert!(said.contains(says), "{said}");
        let json = program(&[&run[..], &["--json"]].concat()).stdout;
        let json: Value = serde_json::from_slice(&json).expect("it is JSON");
        assert_eq!(json["not_finite"], counted, "{json}");
        assert_eq!(json["mean"].is_null(), counted == 6, "{json}");
    }
}

/// What PyTorch's layers call weight and bias, the moment shortcut calls gamma and beta.
#[test]
fn parameters_by_the_names_of_another_operation_are_refused() {
    let folder = folder();
    let input = write(&folder, "x.npy", npy(1, &header("<f4", "False", "(1, 2, 1)"), &floats(&[1.0, 2.0])));
    let table = r#"{"a.weight":{"dtype":"F32","shape":[1,1,1],"data_offsets":[0,4]}}"#;
    let parameters = write(&folder, "p.safetensors", safetensors(table, &floats(&[2.0])));
    let run = program(&["run", "moment_shortcut", &input, "--params", &parameters, "--prefix", "a"]);
    assert_eq!(run.status.code(), Some(2));
    assert!(text(&run.stderr).contains("a.weight: moment_shortcut takes gamma and beta"), "{}", text(&run.stderr));
}

#[test]
fn training_writes_the_running_estimates_along() {
    let folder = folder();
    let output = path(&folder, "y.safetensors");
    let input = case("batch_norm/train_4d.safetensors");
    let run = program(&["run", "batch_norm", &input, "-o", &output, "--adapter", "cpu", "--json"]);
    let report: Value = serde_json::from_slice(&run.stdout).expect("JSON");
    assert!(report["running"]["running_mean"].is_array(), "{report}");
    let bytes = std::fs::read(&output).expect("the output is there");
    for name in ["output", "running_mean", "running_var", "num_batches_tracked"] {
        assert!(text(&bytes).contains(&format!("\"{name}\"")), "{name} is in the file");
    }
}

#[test]
fn the_output_may_replace_the_input() {
    let folder = folder();
    let input = write(&folder, "x.npy", npy(1, &header("<f4", "False", "(1, 3)"), &floats(&[1.0, 2.0, 3.0])));
    let run = program(&["run", "layer_norm", &input, "-o", &input, "--adapter", "cpu"]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert!((last_floats(&input, 3)[2] - 1.224_735_7).abs() < 2e-6, "the file is the result");
}

/// What cannot be used: what is wrong, the file's name and bytes, arguments after it, what the message says.
type Unusable = (&'static str, &'static str, Vec<u8>, Vec<&'static str>, Vec<&'static str>);

fn unusable() -> Vec<Unusable> {
    let good = || npy(1, &header("<f4", "False", "(2, 3)"), &floats(&[0.0; 6]));
    let of = |descriptor: &str| npy(1, &header(descriptor, "False", "(2, 3)"), &[0; 64]);
    let tensor = |shape: &str, offsets: &str, data: &[u8]| {
        safetensors(&format!(r#"{{"x":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#), data)
    };
    let nested = format!("{{'descr': {}'<f4'", "(".repeat(60_000));
    vec![
        ("empty", "x.npy", vec![], vec![], vec!["magic string"]),
        ("no magic", "x.npy", b"PK\x03\x04 not an array".to_vec(), vec![], vec!["magic string"]),
        ("version 9", "x.npy", npy(9, "", &[]), vec![], vec!["version", "9"]),
        ("header past the file", "x.npy", npy(1, "{}", &[])[..9].to_vec(), vec![], vec!["version"]),
        (
            "header length past the file",
            "x.npy",
            {
                let mut b = npy(2, "{}", &[]);
                b[8..12].fill(0xff);
                b
            },
            vec![],
            vec!["header length", "4294967295"],
        ),
        ("deep header", "x.npy", npy(2, &nested, &[]), vec![], vec!["nested"]),
        ("header of another kind", "x.npy", npy(1, "[1, 2]\n", &[]), vec![], vec!["x.npy"]),
        ("pickled objects", "x.npy", of("|O"), vec![], vec!["pickled objects"]),
        ("big-endian", "x.npy", of(">f4"), vec![], vec!["big-endian", ">f4"]),
        ("f64", "x.npy", of("<f8"), vec![], vec!["dtype", "<f8", "<f4 or <f2"]),
        ("integers", "x.npy", of("<i4"), vec![], vec!["dtype", "<i4"]),
        ("truncated", "x.npy", good()[..good().len() - 1].to_vec(), vec![], vec!["x.npy"]),
        ("too long", "x.npy", [good(), vec![0]].concat(), vec![], vec!["x.npy"]),
        (
            "a shape without data",
            "x.npy",
            npy(1, &header("<f4", "False", "(1000000000, 1000)"), &[]),
            vec![],
            vec!["x.npy"],
        ),
        (
            "a shape that overflows",
            "x.npy",
            npy(1, &header("<f4", "False", "(9223372036854775807, 9)"), &[]),
            vec![],
            vec!["x.npy"],
        ),
        ("empty safetensors", "x.safetensors", vec![], vec![], vec!["x.safetensors"]),
        (
            "safetensors header past the file",
            "x.safetensors",
            u64::MAX.to_le_bytes().to_vec(),
            vec![],
            vec!["x.safetensors"],
        ),
        ("safetensors that is no JSON", "x.safetensors", safetensors("{\"x\":", &[]), vec![], vec!["x.safetensors"]),
        (
            "not UTF-8",
            "x.safetensors",
            [2u64.to_le_bytes().to_vec(), vec![0xff, 0xfe]].concat(),
            vec![],
            vec!["x.safetensors"],
        ),
        ("deep JSON", "x.safetensors", safetensors(&"[".repeat(100_000), &[]), vec![], vec!["x.safetensors"]),
        ("offsets past the file", "x.safetensors", tensor("[2]", "[0,8]", &[0; 4]), vec![], vec!["x.safetensors"]),
        ("offsets backwards", "x.safetensors", tensor("[2]", "[8,0]", &[0; 8]), vec![], vec!["x.safetensors"]),
        ("offsets of another size", "x.safetensors", tensor("[3]", "[0,8]", &[0; 8]), vec![], vec!["x.safetensors"]),
        (
            "a shape product that overflows",
            "x.safetensors",
            tensor("[9223372036854775807,9]", "[0,8]", &[0; 8]),
            vec![],
            vec!["x.safetensors"],
        ),
        (
            "no such tensor",
            "x.safetensors",
            tensor("[2]", "[0,8]", &[0; 8]),
            vec!["--tensor", "y"],
            vec!["--tensor y", "x"],
        ),
        ("an unknown ending", "x.csv", b"1,2".to_vec(), vec![], vec![".npy or .safetensors", "x.csv"]),
        (
            "an unknown attribute",
            "x.npy",
            good(),
            vec!["--set", "epsilon=1"],
            vec!["epsilon", "normalized_shape, axes, eps"],
        ),
        ("an attribute without value", "x.npy", good(), vec!["--set", "eps"], vec!["eps", "key=value"]),
        ("an attribute of another type", "x.npy", good(), vec!["--set", "eps=small"], vec!["eps", "small"]),
        (
            "another normalized_shape",
            "x.npy",
            good(),
            vec!["--set", "normalized_shape=[4]"],
            vec!["input", "[2, 3]", "[4]"],
        ),
        ("an unknown adapter", "x.npy", good(), vec!["--adapter", "voodoo"], vec!["adapter", "voodoo"]),
        (
            "an adapter without a name",
            "x.npy",
            good(),
            vec!["--adapter", ""],
            vec!["adapter: expected one of [auto", "\"\""],
        ),
        ("all adapters", "x.npy", good(), vec!["--adapter", "all"], vec!["--adapter all", "reference, cpu"]),
        (
            "whole numbers",
            "x.safetensors",
            safetensors(r#"{"x":{"dtype":"I64","shape":[2],"data_offsets":[0,16]}}"#, &[0; 16]),
            vec!["--tensor", "x"],
            vec!["x: expected F32, F16 or BF16", "I64 of shape [2]"],
        ),
        (
            "parameters that are not there",
            "x.npy",
            good(),
            vec!["--params", "nowhere.safetensors"],
            vec!["nowhere.safetensors"],
        ),
        ("output of another kind", "x.npy", good(), vec!["-o", "y.txt"], vec!["output", "y.txt"]),
        ("output in no folder", "x.npy", good(), vec!["-o", "no/such/folder/y.npy"], vec!["output", "no/such/folder"]),
    ]
}

#[test]
fn what_cannot_be_used_is_refused_by_name_and_leaves_nothing_behind() {
    let mut faults = Vec::new();
    for (name, file, bytes, arguments, parts) in unusable() {
        let folder = folder();
        let input = write(&folder, file, &bytes);
        let output = path(&folder, "y.npy");
        let mut all = vec!["run", "layer_norm", &input];
        if !arguments.contains(&"-o") {
            all.extend(["-o", &output]);
        }
        if !arguments.contains(&"--adapter") {
            all.extend(["--adapter", "cpu"]);
        }
        all.extend(&arguments);
        let run = program(&all);
        let message = text(&run.stderr);
        if run.status.code() != Some(2) || message.contains("panicked") {
            faults.push(format!("{name}: status {:?}: {message}", run.status.code()));
        }
        if let Some(part) = parts.iter().find(|part| !message.contains(**part)) {
            faults.push(format!("{name}: {message:?} does not say {part:?}"));
        }
        let left: Vec<_> = std::fs::read_dir(folder.path()).expect("readable").collect();
        if left.len() != 1 {
            faults.push(format!("{name}: left behind {left:?}"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_forced_strategy_is_taken_or_refused_by_name() {
    let input = case("layer_norm/row_256.safetensors");
    let force = |strategy: &str, adapter: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wgpu-norm"));
        command.args(["check", &input, "--adapter", adapter]).env("WGPU_NORM_STRATEGY", strategy);
        command.output().expect("the program starts")
    };
    let unknown = force("warp", "cpu");
    assert_eq!(unknown.status.code(), Some(2), "an unknown strategy is refused");
    assert!(
        text(&unknown.stderr).contains("resident, streaming, split, column or affine"),
        "{}",
        text(&unknown.stderr)
    );
    if std::env::var("WGPU_NORM_TEST_GPU").is_ok_and(|v| v == "off") {
        return;
    }
    for strategy in ["resident", "streaming", "split"] {
        assert_eq!(force(strategy, "all").status.code(), Some(0), "{strategy} serves a row of 256");
    }
    let refused = force("affine", "all");
    assert_eq!(refused.status.code(), Some(1), "affine cannot take statistics of the input");
    assert!(text(&refused.stdout).contains("strategy: affine cannot serve"), "{}", text(&refused.stdout));
}

#[test]
fn errors_are_json_where_json_is_asked_for() {
    for (arguments, named) in [
        (&["run", "layer_norm", "nowhere.npy", "--json"][..], "nowhere.npy"),
        (&["run", "layer_norm", "x.npy", "--json", "--adaptor", "cpu"], "--adaptor"),
        (&["bench", "--json", "--pass", "sideways"], "sideways"),
        (&["check", "--json"], "PATH"),
    ] {
        let run = program(arguments);
        let report: Value = serde_json::from_slice(&run.stdout).expect("JSON");
        assert!(report["error"].as_str().is_some_and(|e| e.contains(named) && !e.starts_with("error")), "{report}");
        assert_eq!(run.status.code(), Some(2));
        assert!(text(&run.stderr).starts_with("error: "), "{}", text(&run.stderr));
    }
    let help = program(&["bench", "--help", "--json"]);
    assert!(help.status.success() && text(&help.stdout).contains("Usage"), "help is text");
}

/// A report that nobody got is no success.
#[cfg(target_os = "linux")]
#[test]
fn a_report_that_cannot_be_written_is_an_error() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let case = case("layer_norm/row_2.safetensors");
    for arguments in [&["adapters", "--json"][..], &["check", &case, "--adapter", "cpu"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wgpu-norm"));
        let run = command.args(arguments).stdout(full()).output().expect("it starts");
        assert_eq!(run.status.code(), Some(2), "{arguments:?}");
        assert!(text(&run.stderr).contains("standard output"), "{arguments:?}: {}", text(&run.stderr));
    }
}

#[test]
fn adapters_lists_what_is_here() {
    let listed = program(&["adapters", "--json"]);
    let report: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let adapters = report["adapters"].as_array().expect("a list");
    let names: Vec<&str> = adapters.iter().filter_map(|a| a["name"].as_str()).collect();
    assert_eq!(names[..2], ["reference", "cpu"]);
    assert_eq!(adapters.iter().filter(|a| a["auto"] == true).count(), 1, "auto takes one");
    assert!(program(&["adapters"]).status.success(), "for people too");
}

/// A sparse file of a tebibyte: refused for its size before a byte of it is read.
#[cfg(target_os = "linux")]
#[test]
fn a_file_larger_than_memory_is_refused_with_both_sizes() {
    let folder = folder();
    let input = path(&folder, "x.npy");
    let file = std::fs::File::create(&input).expect("created");
    file.set_len(1 << 40).expect("a sparse file");
    let run = program(&["run", "layer_norm", &input, "--adapter", "cpu"]);
    let message = text(&run.stderr);
    assert_eq!(run.status.code(), Some(2), "{message}");
    assert!(message.contains("1048576 MiB") && message.contains("are available"), "{message}");
}

/// A bracket is part of every adapter's name, and of no other place's.
#[test]
fn part_of_a_name_stands_for_the_best_adapter_that_has_it() {
    if without_gpu() {
        return;
    }
    let listed: Value = serde_json::from_slice(&program(&["adapters", "--json"]).stdout).expect("JSON");
    let all = listed["adapters"].as_array().expect("a list");
    let has_it = |name: &Value| name.as_str().is_some_and(|name| name.contains('['));
    assert!(all.iter().any(|adapter| has_it(&adapter["name"])), "there is an adapter: {listed:#}");
    let input = case("layer_norm/row_2.safetensors");
    let run = program(&["run", "layer_norm", &input, "--tensor", "input", "--adapter", "[", "--json"]);
    let report: Value = serde_json::from_slice(&run.stdout).expect("JSON");
    assert!(run.status.success() && has_it(&report["adapter"]), "{report:#}");
}

/// The environment chooses the adapter of `auto`, and only then is a software rasterizer one.
#[test]
fn auto_takes_a_software_rasterizer_only_when_asked() {
    if std::env::var("WGPU_NORM_TEST_GPU").is_ok_and(|v| v == "off") {
        return;
    }
    let listed = |variable: Option<(&str, &str)>| -> (String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wgpu-norm"));
        command.args(["adapters", "--json"]).env_remove("WGPU_ADAPTER_NAME").env_remove("WGPU_BACKEND");
        if let Some((name, value)) = variable {
            command.env(name, value);
        }
        let report: Value = serde_json::from_slice(&command.output().expect("starts").stdout).expect("JSON");
        let adapters = report["adapters"].as_array().cloned().unwrap_or_default();
        let auto = adapters.iter().find(|a| a["auto"] == true).expect("auto takes one");
        let of = |key: &str| auto[key].as_str().unwrap_or_default().to_owned();
        (of("name"), of("type"))
    };
    assert_ne!(listed(None).1, "Cpu", "no software rasterizer unasked");
    let (first, kind) = {
        let report: Value = serde_json::from_slice(&program(&["adapters", "--json"]).stdout).expect("JSON");
        let adapter = report["adapters"][2].clone();
        (adapter["name"].as_str().expect("an adapter").to_owned(), adapter["type"].clone())
    };
    assert_eq!(listed(Some(("WGPU_ADAPTER_NAME", &first))), (first, kind.as_str().expect("a type").to_owned()));
}
