//! `run` in pieces: the same results as all at once, and nothing half done under the output's name.
#![cfg(feature = "cli")]

#[allow(dead_code, reason = "of what tests of the command line share, a part is needed here")]
#[path = "common/program.rs"]
mod program;

use program::{folder, path, program, text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use wgpu_norm::checkpoint::{self, Checkpoint};
use wgpu_norm::layer::{Entry, StateDict};
use wgpu_norm::{Data, Dtype, Tensor};

/// Values round 2, as any stream of numbers gives them.
fn values(len: usize, salt: u64) -> Vec<f64> {
    #[expect(clippy::cast_precision_loss, reason = "24 bits are left")]
    let value = |i: u64| ((i + 1 + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / (1u64 << 22) as f64;
    (0..len as u64).map(value).collect()
}

fn tensor(shape: &[usize], dtype: Dtype, salt: u64) -> Tensor {
    let values = values(shape.iter().product(), salt);
    Tensor::new(shape, Data::from_f64(dtype, &values)).expect("as long as its shape says")
}

fn save(folder: &TempDir, name: &str, tensors: &[(&str, Tensor)]) -> String {
    let state: StateDict =
        tensors.iter().map(|(name, tensor)| ((*name).to_owned(), Entry::from(tensor.clone()))).collect();
    let path = path(folder, name);
    checkpoint::save(&path, &state).expect("saved");
    path
}

/// A `.npy` file of f32.
fn npy(folder: &TempDir, name: &str, shape: &[usize]) -> String {
    let axes: String = shape.iter().map(|axis| format!("{axis}, ")).collect();
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({axes}), }}\n");
    let length = u16::try_from(header.len()).expect("short").to_le_bytes();
    let values = tensor(shape, Dtype::F32, 0);
    let path = path(folder, name);
    let bytes = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), values.data().bytes()].concat();
    std::fs::write(&path, bytes).expect("written");
    path
}

/// Everything in a file, by name.
fn contents(path: &str) -> BTreeMap<String, Entry> {
    let file = Checkpoint::open(path).expect("a .safetensors file");
    file.names().map(|name| (name.to_owned(), file.get(name).expect("readable").expect("there"))).collect()
}

fn run(arguments: &[&str]) -> Value {
    let output = program(&[&["run"], arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("a report")
}

/// An operation, the input's shape, and the shapes of what else it takes.
type Row<'a> = (&'a [&'a str], &'a [usize], &'a [(&'a str, &'a [usize])]);

const BY_ROWS: [Row<'_>; 14] = [
    (&["layer_norm"], &[37, 24], &[("weight", &[24]), ("bias", &[24])]),
    (&["layer_norm", "--set", "axes=[1]"], &[5, 6, 4], &[("weight", &[6])]),
    (&["layer_norm", "--set", "axes=[1]"], &[5, 6, 4], &[("weight", &[5, 6])]),
    (&["layer_norm", "--set", "axes=[2]"], &[1, 40, 8], &[("weight", &[8])]),
    (&["rms_norm"], &[3, 11, 8], &[("weight", &[8])]),
    (&["group_norm", "--set", "num_groups=3"], &[4, 6, 5], &[("weight", &[6]), ("bias", &[6])]),
    (&["group_norm", "--set", "num_groups=3", "--set", "layout=channels_last"], &[4, 5, 6], &[("weight", &[4, 6])]),
    (&["instance_norm"], &[7, 6, 9], &[("weight", &[6]), ("bias", &[6])]),
    (
        &["instance_norm", "--set", "use_input_stats=false"],
        &[7, 6, 9],
        &[("running_mean", &[6]), ("running_var", &[6])],
    ),
    (&["instance_norm"], &[7, 6, 9], &[("weight", &[7, 6])]),
    (&["filter_response_norm"], &[7, 6, 9], &[("weight", &[6]), ("tau", &[6]), ("eps_l", &[1])]),
    (&["moment_shortcut"], &[7, 6, 9], &[("gamma", &[7, 1, 9]), ("beta", &[7, 1, 9])]),
    (&["batch_norm"], &[9, 6, 11], &[("weight", &[6]), ("running_mean", &[6]), ("running_var", &[6])]),
    (
        &["batch_norm", "--set", "layout=channels_last"],
        &[9, 5, 6],
        &[("weight", &[9, 6]), ("running_mean", &[6]), ("running_var", &[6])],
    ),
];

fn adapters() -> Vec<String> {
    let output = program(&["adapters", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let all = report.as_array().cloned().or_else(|| report["adapters"].as_array().cloned()).unwrap_or_default();
    all.iter().filter_map(|adapter| adapter["name"].as_str().map(str::to_owned)).collect()
}

/// Both ways of a run: all at once, and in pieces of a few hundred bytes, verified.
fn both(folder: &TempDir, row: &Row<'_>, dtype: Dtype, adapter: &str) -> [BTreeMap<String, Entry>; 2] {
    let (operation, shape, parameters) = row;
    let input = save(folder, "x.safetensors", &[("input", tensor(shape, dtype, 0))]);
    let parameters: Vec<(&str, Tensor)> = parameters
        .iter()
        .enumerate()
        .map(|(i, (name, shape))| (*name, tensor(shape, Dtype::F32, 1000 * (i as u64 + 1))))
        .collect();
    let file = save(folder, "p.safetensors", &parameters);
    let (whole, pieces) = (path(folder, "whole.safetensors"), path(folder, "pieces.safetensors"));
    let mut arguments: Vec<&str> = [&operation[..1], &[&input], &operation[1..]].concat();
    if !parameters.is_empty() {
        arguments.extend(["--params", &file]);
    }
    arguments.extend(["--adapter", adapter]);
    let report = run(&[&arguments[..], &["-o", &whole]].concat());
    let again = run(&[&arguments[..], &["-o", &pieces, "--piece", "300", "--verify"]].concat());
    for report in [&report, &again] {
        assert!(report["fallback"].is_null(), "the CPU stepped in: {row:?} {dtype} on {adapter}: {report}");
    }
    assert_eq!(again["verify"]["within_tolerance"], true, "{row:?} {dtype} on {adapter}: {again}");
    assert_eq!(report["running"]["num_batches_tracked"], again["running"]["num_batches_tracked"], "{row:?}");
    [contents(&whole), contents(&pieces)]
}

#[test]
fn groups_of_one_piece_have_the_same_bits() {
    let folder = folder();
    for row in &BY_ROWS {
        for dtype in Dtype::ALL {
            let [whole, pieces] = both(&folder, row, dtype, "cpu");
            assert!(whole == pieces, "{row:?} {dtype}");
        }
    }
}

/// On adapters too, of which each has an order of summing of its own.
#[test]
fn adapters_run_in_pieces() {
    if std::env::var("WGPU_NORM_TEST_GPU").is_ok_and(|value| value == "off") {
        println!("GPU tests are turned off by WGPU_NORM_TEST_GPU=off");
        return;
    }
    let folder = folder();
    let mut adapters = adapters();
    adapters.retain(|name| !["cpu", "reference"].contains(&name.as_str()));
    assert!(!adapters.is_empty(), "there is an adapter, or WGPU_NORM_TEST_GPU=off");
    for adapter in &adapters {
        for row in BY_ROWS.iter().step_by(3) {
            let [whole, pieces] = both(&folder, row, Dtype::F32, adapter);
            assert!(whole == pieces, "{row:?} on {adapter}");
        }
        assert_close(&both(&folder, &SHARED[0], Dtype::F32, adapter), &SHARED[0]);
    }
}

const SHARED: [Row<'_>; 5] = [
    (
        &["batch_norm", "--set", "training=true"],
        &[9, 6, 11],
        &[("weight", &[6]), ("running_mean", &[6]), ("running_var", &[6])],
    ),
    (&["batch_norm", "--set", "training=true", "--set", "layout=channels_last"], &[9, 7, 6], &[("bias", &[9, 6])]),
    (&["batch_group_norm", "--set", "training=true", "--set", "num_groups=4"], &[20, 4, 6], &[("weight", &[4])]),
    (&["layer_norm", "--set", "axes=[0]"], &[64, 5], &[("weight", &[64])]),
    (&["positional_norm"], &[1, 30, 7], &[]),
];

/// Where all pieces have a share in every group, moments are merged in another order.
fn assert_close([whole, pieces]: &[BTreeMap<String, Entry>; 2], row: &Row<'_>) {
    assert!(whole.keys().eq(pieces.keys()), "{row:?}: {:?} {:?}", whole.keys(), pieces.keys());
    for (name, entry) in whole {
        let (Some(one), Some(other)) = (entry.tensor(), pieces[name].tensor()) else {
            assert_eq!(entry, &pieces[name], "{row:?} {name}");
            continue;
        };
        assert_eq!(one.spec(), other.spec(), "{row:?} {name}");
        let unit = 8.0 * one.dtype().unit_roundoff();
        for (one, other) in one.data().to_f64().into_iter().zip(other.data().to_f64()) {
            assert!((one - other).abs() <= unit * (1.0 + one.abs()), "{row:?} {name}: {one} {other}");
        }
    }
}

#[test]
fn groups_of_all_pieces_are_measured_first() {
    let folder = folder();
    for row in &SHARED {
        for dtype in Dtype::ALL {
            assert_close(&both(&folder, row, dtype, "cpu"), row);
        }
    }
}

/// Means and deviations are outputs as well.
#[test]
fn positional_norms_keep_their_moments() {
    let row: Row<'_> = (&["positional_norm"], &[12, 6, 5], &[]);
    let [whole, pieces] = both(&folder(), &row, Dtype::F16, "cpu");
    assert!(whole == pieces && whole.contains_key("std"), "{:?}", whole.keys());
}

/// What has to be there all at once is read all at once.
#[test]
fn what_cannot_be_cut_is_not_cut() {
    let row: Row<'_> =
        (&["switchable_norm", "--set", "training=true"], &[4, 3, 5], &[("mean_weight", &[3]), ("var_weight", &[3])]);
    let [whole, pieces] = both(&folder(), &row, Dtype::F32, "cpu");
    assert!(whole == pieces, "the same program");
}

#[test]
fn npy_files_are_the_same_to_the_byte() {
    let folder = folder();
    let input = npy(&folder, "x.npy", &[100, 3, 8]);
    let (whole, pieces) = (path(&folder, "whole.npy"), path(&folder, "pieces.npy"));
    run(&["layer_norm", &input, "-o", &whole, "--adapter", "cpu"]);
    run(&["layer_norm", &input, "-o", &pieces, "--adapter", "cpu", "--piece", "1000"]);
    let [whole, pieces] = [whole, pieces].map(|path| std::fs::read(path).expect("written"));
    assert!(whole == pieces && whole.len() > 100 * 3 * 8 * 4, "{} bytes", whole.len());
    assert_eq!(&whole[whole.len() - 100 * 3 * 8 * 4 - 1..][..1], b"\n", "a header, then the values");
}

/// With one piece after the other there is no need for more memory than for a few.
#[test]
#[cfg(target_os = "linux")]
fn memory_is_bounded() {
    let folder = folder();
    let input = npy(&folder, "x.npy", &[1 << 16, 1024]);
    let output = path(&folder, "y.npy");
    for operation in [&["layer_norm"][..], &["batch_norm", "--set", "training=true"]] {
        let arguments =
            [&operation[..1], &[&input, "-o", &output, "--adapter", "cpu", "--piece", "1048576"], &operation[1..]]
                .concat();
        let mut child = Command::new(env!("CARGO_BIN_EXE_wgpu-norm"))
            .arg("run")
            .args(&arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts");
        let peak = peak(&mut child);
        assert!(child.wait().expect("it ends").success(), "{operation:?}");
        assert!((1 << 10..128 << 10).contains(&peak), "{operation:?}: {peak} KiB for a tensor of 262144 KiB");
    }
}

/// The most memory that a program had so far while it runs, in KiB.
#[cfg(target_os = "linux")]
fn peak(child: &mut Child) -> u64 {
    let mut peak = 0;
    while child.try_wait().expect("its state").is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or(peak);
        std::thread::sleep(Duration::from_millis(2));
    }
    peak
}

/// Starts a run of some seconds whose output has the name of a file that is there already.
#[cfg(unix)]
fn long_run(folder: &TempDir) -> Child {
    let input = path(folder, "x.npy");
    std::fs::write(path(folder, "y.npy"), "old").expect("written");
    Command::new(env!("CARGO_BIN_EXE_wgpu-norm"))
        .args(["run", "layer_norm", &input, "-o", &path(folder, "y.npy"), "--adapter", "cpu", "--piece", "64"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts")
}

#[cfg(unix)]
fn names(folder: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path()).expect("the folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Waits until the program has begun to write.
#[cfg(unix)]
fn wait_for_a_temporary_file(folder: &TempDir) {
    let end = Instant::now() + Duration::from_secs(30);
    while !names(folder).iter().any(|name| name.starts_with(".wgpu-norm-")) {
        assert!(Instant::now() < end, "nothing is written");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
#[cfg(unix)]
fn whatever_ends_it_no_half_output_has_the_name() {
    let folder = folder();
    npy(&folder, "x.npy", &[1 << 19, 8]);
    for (signal, pause) in [("KILL", 0), ("KILL", 7), ("KILL", 90), ("INT", 0), ("INT", 35), ("TERM", 60)] {
        let mut child = long_run(&folder);
        wait_for_a_temporary_file(&folder);
        std::thread::sleep(Duration::from_millis(pause));
        assert!(child.try_wait().expect("its state").is_none(), "it is to be ended while it runs");
        let kill = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        assert!(kill.expect("kill starts").success(), "{signal}");
        let status = child.wait().expect("it ends");
        assert_eq!(std::fs::read_to_string(path(&folder, "y.npy")).expect("the old file"), "old", "{signal} {pause}");
        if signal == "KILL" {
            // Nobody can tidy up behind that: what is left has a name that says what it is.
            names(&folder).iter().filter(|name| name.starts_with(".wgpu-norm-")).for_each(|name| {
                std::fs::remove_file(path(&folder, name)).expect("removed");
            });
        } else {
            assert_eq!(status.code(), Some(130), "{signal} {pause}");
        }
        assert_eq!(names(&folder), ["x.npy", "y.npy"], "{signal} {pause}");
    }
}

/// Where the tensor is in memory as well, once its output is being written.
#[test]
#[cfg(unix)]
fn what_is_not_in_pieces_leaves_nothing_either() {
    let folder = folder();
    let input = npy(&folder, "x.npy", &[1 << 22, 8]);
    for output in ["y.npy", "y.safetensors"] {
        std::fs::write(path(&folder, output), "old").expect("written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_wgpu-norm"))
            .args(["run", "layer_norm", &input, "-o", &path(&folder, output), "--adapter", "cpu"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        wait_for_a_temporary_file(&folder);
        let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(kill.expect("kill starts").success(), "{output}");
        assert_eq!(child.wait().expect("it ends").code(), Some(130), "{output}");
        assert_eq!(std::fs::read_to_string(path(&folder, output)).expect("the old file"), "old", "{output}");
    }
    assert_eq!(names(&folder), ["x.npy", "y.npy", "y.safetensors"]);
}

/// What stands in the way is said before anything is written, and nothing is.
#[test]
fn a_file_that_ends_too_early_leaves_nothing() {
    let folder = folder();
    let input = npy(&folder, "x.npy", &[100, 8]);
    let bytes = std::fs::read(&input).expect("written");
    std::fs::write(&input, &bytes[..bytes.len() - 1]).expect("written");
    let output = path(&folder, "y.npy");
    let run = program(&["run", "layer_norm", &input, "-o", &output, "--adapter", "cpu", "--piece", "64"]);
    assert_eq!(run.status.code(), Some(2), "{}", text(&run.stdout));
    assert!(!Path::new(&output).exists(), "{}", text(&run.stderr));
}
