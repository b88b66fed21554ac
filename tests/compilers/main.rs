//! The shaders that the engine can ask for, through every compiler that a backend of wgpu hands it to. Needs no GPU.
//!
//! naga writes each in the languages of Vulkan, Metal, Direct3D and GL. Compilers beside naga are taken where they are
//! installed (`tests/compilers/install.sh` does so) and named where they are not; with `WGPU_NORM_COMPILERS=all` one
//! that is missing fails the test. Compiled is a quarter of the shaders, by lot, and beside it every pair of choices that a
//! kernel is compiled with; all of them with `WGPU_NORM_TEST_SHARE=all`.

mod digits;
#[path = "../common/draw.rs"]
mod draw;
mod naga_writers;
mod specialisations;
mod tint;
mod tools;
#[path = "../common/wgsl.rs"]
mod wgsl;

use naga_writers::{Hlsl, Ready, ready};
use specialisations::{Specialisation, pairwise, specialisations, with_pairs};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tint::{Job, Tint};
use tools::{DirectX, Program, check_glsl, check_spirv, found, say};
use wgpu_norm::gpu::kernels::Variant;

/// What the check has against each, on all cores.
fn faults(all: &[Specialisation], check: impl Fn(&Specialisation) -> Result<(), String> + Sync) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let faults = Mutex::new(Vec::new());
    let work = || {
        while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(fault) = check(one) {
                faults.lock().expect("no check panics").push(format!("{}: {fault}", one.name()));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    faults.into_inner().expect("no check panics")
}

/// Reports what a compiler has taken, all of it.
fn assert_taken(compiler: &str, count: usize, faults: &[String], since: Instant) {
    let refused = faults.len();
    assert_eq!(refused, 0, "{compiler} refuses {refused} of {count}, the first: {:#?}", &faults[..refused.min(3)]);
    say(&format!("{compiler}: {count} specialisations, {:.0} s", since.elapsed().as_secs_f64()));
}

fn binds_what_the_host_fills(one: &Specialisation, ready: &Ready) -> Result<(), String> {
    let (used, filled) = (ready.bindings(), one.variant.bindings().collect::<BTreeSet<u32>>());
    if used == filled { Ok(()) } else { Err(format!("uses the bindings {used:?}, and the host fills {filled:?}")) }
}

#[test]
fn naga_writes_specialisations_for_every_backend_and_spirv_val_takes_a_quarter() {
    let since = Instant::now();
    let reachable = Variant::reachable();
    let alike = specialisations(&reachable);
    let all = with_pairs(&alike);
    assert!(reachable.len() > 10_000, "the table of slots multiplies out to more than {}", reachable.len());
    say(&format!("{} variants are {} but for the number of packs a lane holds", reachable.len(), alike.len()));
    let validator = found("spirv-val", Program::find("spirv-val", "spirv-tools"));
    let written = |one: &Specialisation| {
        let ready = ready(one)?;
        binds_what_the_host_fills(one, &ready)?;
        let words = ready.spirv(one.newer)?;
        ready.metal()?;
        ready.hlsl()?;
        ready.glsl()?;
        let validator = validator.as_ref().filter(|_| one.validated);
        validator.map_or(Ok(()), |validator| check_spirv(validator, &words, one.newer))
    };
    let version = validator.as_ref().map_or("no spirv-val".into(), |found| format!("spirv-val {}", found.version));
    let validated = all.iter().filter(|one| one.validated).count();
    let compilers = format!("naga 30 to SPIR-V, MSL, HLSL and GLSL ES, and {version} of {validated}");
    assert_taken(&compilers, all.len(), &faults(&all, written), since);
}

#[test]
fn spirv_val_takes_every_pair_of_choices() {
    let Some(validator) = found("spirv-val", Program::find("spirv-val", "spirv-tools")) else { return };
    let since = Instant::now();
    let sample = pairwise(&specialisations(&Variant::reachable()));
    let check = |one: &Specialisation| check_spirv(&validator, &ready(one)?.spirv(one.newer)?, one.newer);
    let compiler = format!("spirv-val {}, every pair of choices", validator.version);
    assert_taken(&compiler, sample.len(), &faults(&sample, check), since);
}

#[test]
fn tint_takes_specialisations_and_the_pipelines_of_every_pair_of_choices() {
    let Some(tint) = found("Tint", Tint::find()) else { return };
    let since = Instant::now();
    let alike = specialisations(&Variant::reachable());
    let (all, sample) = (with_pairs(&alike), pairwise(&alike));
    let jobs: Vec<Job> = all.iter().map(Job::module).chain(sample.iter().map(Job::pipeline)).collect();
    let (version, faults) = tint.compile(&jobs);
    let compiler = format!("Tint of webgpu {version}, and {} pipelines", sample.len());
    assert_taken(&compiler, all.len(), &faults, since);
}

#[test]
fn dxc_takes_every_pair_of_choices() {
    let Some(dxc) = found("DXC", DirectX::find()) else { return };
    let since = Instant::now();
    let sample = pairwise(&specialisations(&Variant::reachable()));
    // A compiler of DXC's belongs to one thread.
    let check = |one: &Specialisation| ready(one)?.hlsl().and_then(|hlsl| DirectX::find()?.check(&hlsl));
    let compiler = format!("DXC {}, every pair of choices", dxc.version());
    assert_taken(&compiler, sample.len(), &faults(&sample, check), since);
}

#[test]
fn glslang_takes_every_pair_of_choices() {
    let Some(glslang) = found("glslangValidator", Program::find("glslangValidator", "glslang-tools")) else { return };
    let since = Instant::now();
    let mut all = specialisations(&Variant::reachable());
    all.retain(|one| !one.variant.needs_f16() && !one.variant.needs_subgroups());
    let sample = pairwise(&all);
    let check = |one: &Specialisation| {
        let source = ready(one)?.glsl()?.ok_or("is not for GL")?;
        check_glsl(&glslang, &source)
    };
    let compiler = format!("glslangValidator {}, every pair of choices", glslang.version);
    assert_taken(&compiler, sample.len(), &faults(&sample, check), since);
}

fn any() -> Ready {
    ready(&specialisations(&Variant::reachable())[0]).expect("it is ready")
}

#[test]
fn spirv_val_refuses_what_is_wrong() {
    let Some(validator) = found("spirv-val", Program::find("spirv-val", "spirv-tools")) else { return };
    let mut words = any().spirv(false).expect("it is written");
    assert_eq!(check_spirv(&validator, &words, false), Ok(()), "as it was written");
    // The type of the entry point is no number that something has.
    let entry = words.iter().rposition(|word| word & 0xffff == 54).expect("there is a function");
    words[entry + 4] = 1;
    assert!(check_spirv(&validator, &words, false).is_err(), "with another type");
}

#[test]
fn tint_refuses_what_is_wrong() {
    let Some(tint) = found("Tint", Tint::find()) else { return };
    let job =
        |name: &str, code: &str| Job { name: name.into(), code: code.into(), constants: Some(Default::default()) };
    let jobs = [
        job("right", "@compute @workgroup_size(1) fn main() {}"),
        job("subgroups without enable", "@compute @workgroup_size(1) fn main() { _ = subgroupAdd(1u); }"),
        job(
            "barrier for some",
            "@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) \
             { if i == 0u { workgroupBarrier(); } }",
        ),
        job("too large", "override SIZE = 4096u; @compute @workgroup_size(SIZE) fn main() {}"),
    ];
    let (_, mut faults) = tint.compile(&jobs);
    faults.sort();
    let refused: Vec<&str> = faults.iter().filter_map(|fault| fault.split(':').next()).collect();
    assert_eq!(refused, ["barrier for some", "subgroups without enable", "too large"], "{faults:#?}");
}

#[test]
fn dxc_refuses_what_is_wrong() {
    let Some(dxc) = found("DXC", DirectX::find()) else { return };
    let hlsl = any().hlsl().expect("it is written");
    assert_eq!(dxc.check(&hlsl), Ok(()), "as it was written");
    let source = hlsl.source.replace("SV_GroupID", "SV_NoSuchThing");
    assert!(dxc.check(&Hlsl { source, ..hlsl }).is_err(), "with an input that there is not");
}

#[test]
fn glslang_refuses_what_is_wrong() {
    let Some(glslang) = found("glslangValidator", Program::find("glslangValidator", "glslang-tools")) else { return };
    let source = any().glsl().expect("it is written").expect("it is for GL");
    assert_eq!(check_glsl(&glslang, &source), Ok(()), "as it was written");
    assert!(check_glsl(&glslang, &source.replace("uint", "vec3")).is_err(), "with other types");
}
