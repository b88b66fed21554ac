//! The conformance cases through the library, read and compared without the program's own code.
//!
//! GPU adapters run in `tests/conformance.rs`; [`common::case::run_case`] takes any engine.
#![cfg(feature = "cli")]

mod common;

use common::attributes::IMPLEMENTED;
use common::case::{Case, over_tolerance, run_case};
use std::path::{Path, PathBuf};
use wgpu_norm::{Choice, Engine};

/// Every case, by the order of its path.
fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<PathBuf> = entries(&root).filter(|path| path.is_dir()).flat_map(|dir| entries(&dir)).collect();
    files.sort();
    files.iter().map(|path| Case::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).collect()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = std::fs::read_dir(folder).expect("the cases are there");
    entries.map(|entry| entry.expect("readable").path())
}

fn assert_every_case_passes_on(choice: &Choice) {
    let engine = pollster::block_on(Engine::open(choice)).expect("it needs no device");
    let cases: Vec<Case> = cases().into_iter().filter(Case::is_implemented).collect();
    let mut faults = Vec::new();
    let mut closest = (0f64, String::new());
    for case in &cases {
        match run_case(&engine, case) {
            Err(fault) => faults.push(format!("{}: {fault}", case.path.display())),
            Ok(worst) if worst > closest.0 => closest = (worst, case.path.display().to_string()),
            Ok(_) => {}
        }
    }
    assert!(faults.is_empty(), "{} of {} cases fail: {faults:#?}", faults.len(), cases.len());
    println!("{}: {} cases pass, the closest is {} ({:.2})", engine.name(), cases.len(), closest.1, closest.0);
}

#[test]
fn every_case_passes_on_the_reference() {
    assert_every_case_passes_on(&Choice::Reference);
}

#[test]
fn every_case_passes_on_the_cpu() {
    assert_every_case_passes_on(&Choice::Cpu);
}

/// The file's contents and its place in the tree are two witnesses of what a case is; a case that one of
/// them hides would be run by nobody.
#[test]
fn what_is_not_run_is_another_operation() {
    let (run, left): (Vec<Case>, Vec<Case>) = cases().into_iter().partition(Case::is_implemented);
    for case in run.iter().chain(&left) {
        let folder = case.path.parent().and_then(Path::file_name).expect("a folder").to_string_lossy().into_owned();
        let is_backward = case.path.to_string_lossy().ends_with("_backward.safetensors");
        assert_eq!(case.is_implemented(), IMPLEMENTED.contains(&folder.as_str()), "{}", case.path.display());
        assert_eq!(case.asks_for_gradients(), is_backward, "{}", case.path.display());
    }
    for op in IMPLEMENTED {
        let of_op = || run.iter().filter(|case| case.op == op);
        assert!(of_op().any(|case| !case.asks_for_gradients()), "{op} has no forward case");
        assert!(of_op().any(Case::asks_for_gradients), "{op} has no backward case");
    }
    println!("{} run; left out: {} of other operations", run.len(), left.len());
}

#[test]
fn the_rule_of_comparison_is_the_readmes() {
    assert_eq!(over_tolerance(1.5, 1.0, 0.25, 0.25), 1.0, "the bound itself passes");
    assert!(over_tolerance(1.51, 1.0, 0.25, 0.25) > 1.0, "beyond it fails");
    assert_eq!(over_tolerance(-2.0, -2.0, 0.0, 0.0), 0.0, "no tolerance lets the value itself pass");
    assert_eq!(over_tolerance(f64::NAN, f64::NAN, 0.0, 0.0), 0.0, "NaN matches NaN");
    for (got, want) in [(f64::NAN, 1.0), (1.0, f64::NAN), (f64::INFINITY, 1.0), (f64::NEG_INFINITY, f64::INFINITY)] {
        assert_eq!(over_tolerance(got, want, 1.0, 1.0), f64::INFINITY, "{got} is not {want}");
    }
}
