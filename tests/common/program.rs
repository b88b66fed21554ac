//! The program, and files to give it: what the tests of the command line share.

use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

pub(crate) fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wgpu-norm")).args(arguments).output().expect("the program starts")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

/// A place in a folder.
pub(crate) fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_string_lossy().into_owned()
}

/// A file with these bytes.
pub(crate) fn write(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = path(folder, name);
    std::fs::write(&path, bytes).expect("written");
    path
}

/// A conformance case of the project's.
pub(crate) fn case(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(name).to_string_lossy().into_owned()
}

/// Whether tests of adapters are turned off; says so.
pub(crate) fn without_gpu() -> bool {
    let is_off = std::env::var("WGPU_NORM_TEST_GPU").is_ok_and(|value| value == "off");
    if is_off {
        println!("GPU tests are turned off by WGPU_NORM_TEST_GPU=off");
    }
    is_off
}
