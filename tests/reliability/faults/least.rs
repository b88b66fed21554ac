//! Adapters that have no more than they have to.

use crate::common::case::{Case, run_case};
use crate::subject::Subject;
use std::path::{Path, PathBuf};
use wgpu_norm::Engine;

/// The conformance cases on devices that were requested with less than the adapter has: how many pass, which is all.
pub(crate) fn least(subject: &Subject, most: usize) -> Vec<(&'static str, usize)> {
    let cases = cases(most);
    let requests = [
        ("no optional feature", subject.adapter.limits()),
        ("WebGPU's least limits", least_limits()),
        ("4 storage buffers a stage", wgpu::Limits { max_storage_buffers_per_shader_stage: 4, ..least_limits() }),
    ];
    requests
        .into_iter()
        .map(|(name, limits)| {
            let app = subject.app_with(wgpu::Features::empty(), limits);
            let engine = Engine::with_gpu(&app.gpu, &app.queue);
            // With fewer than WebGPU's buffers some kernels cannot be made; then the CPU steps in.
            let strict = name != "4 storage buffers a stage";
            let engine = if strict { engine.without_fallback() } else { engine };
            for case in &cases {
                run_case(&engine, case).unwrap_or_else(|fault| panic!("{}: {name}: {fault}", case.path.display()));
            }
            app.assert_undisturbed();
            (name, cases.len())
        })
        .collect()
}

/// 256 invocations and 16 KiB a workgroup, 8 storage buffers a stage, bindings of 128 MiB.
fn least_limits() -> wgpu::Limits {
    let limits = wgpu::Limits { max_storage_buffers_per_shader_stage: 8, ..wgpu::Limits::downlevel_defaults() };
    assert_eq!(limits.max_compute_invocations_per_workgroup, 256, "WebGPU's least");
    assert!(limits.max_compute_workgroup_storage_size <= 16 << 10, "WebGPU's least");
    limits
}

/// Evenly from all of them.
fn cases(most: usize) -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<PathBuf> = entries(&root).filter(|path| path.is_dir()).flat_map(|dir| entries(&dir)).collect();
    files.sort();
    let step = files.len().div_ceil(most).max(1);
    files.iter().step_by(step).map(|path| Case::read(path).expect("a case")).filter(Case::is_implemented).collect()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(folder).expect("the cases are there").map(|entry| entry.expect("readable").path())
}
