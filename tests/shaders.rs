//! Every shader that the engine can ask for links, parses and validates. Needs no GPU.

use naga::valid::{Capabilities, ValidationFlags, Validator};
use std::collections::BTreeSet;
use std::path::Path;
use wgpu_norm::gpu::{Linked, MOST_STORAGE_BUFFERS, Registers, Target, Task, Variant, link};

/// What a variant says that it requires, and nothing else.
fn declared(variant: &Variant) -> Capabilities {
    // unpack2x16float is core WGSL; naga lists it because Direct3D 11 lacks it.
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    capabilities.set(Capabilities::SHADER_FLOAT16, variant.needs_f16());
    capabilities.set(Capabilities::SUBGROUP, variant.needs_subgroups());
    capabilities
}

fn parse(linked: &Linked) -> Result<naga::Module, String> {
    naga::front::wgsl::parse_str(&linked.source).map_err(|error| {
        let line = error.location(&linked.source).map_or(0, |l| l.line_number as usize);
        format!("{:?}: {}", linked.origin(line), error.message())
    })
}

fn validate(module: &naga::Module, capabilities: Capabilities) -> Result<naga::valid::ModuleInfo, String> {
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    validator.validate(module).map_err(|error| format!("{error:?}"))
}

/// All but those that differ from others in the number of registers alone, a literal in an array's length.
fn distinct_in_more_than_registers() -> Vec<Variant> {
    let ends = [Some(Registers::R1), Some(Registers::R128), None];
    Variant::reachable().into_iter().filter(|variant| ends.contains(&variant.registers)).collect()
}

#[test]
fn every_reachable_variant_is_valid_with_what_it_declares() {
    let variants = distinct_in_more_than_registers();
    let distinct: BTreeSet<String> = variants.iter().map(Variant::name).collect();
    assert_eq!(distinct.len(), variants.len(), "each variant has a name of its own");
    let chunk = variants.len().div_ceil(std::thread::available_parallelism().map_or(1, usize::from));
    let faults: Vec<String> = std::thread::scope(|scope| {
        let check = |variant: &Variant| {
            let module = parse(&link(variant, Target::Naga))?;
            validate(&module, declared(variant)).map(|_| ())
        };
        let workers: Vec<_> = variants
            .chunks(chunk)
            .map(|some| {
                scope.spawn(move || {
                    let faults =
                        some.iter().filter_map(|v| check(v).err().map(|fault| format!("{}: {fault}", v.name())));
                    faults.collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("the checks do not panic")).collect()
    });
    assert!(
        faults.is_empty(),
        "{} of {} variants, the first: {:#?}",
        faults.len(),
        variants.len(),
        &faults[..faults.len().min(3)]
    );
    println!("{} variants are valid", variants.len());
    assert!(variants.len() > 10_000, "the table of slots multiplies out to more than {}", variants.len());
}

#[test]
fn what_a_variant_declares_is_needed() {
    let needy: Vec<Variant> =
        Variant::reachable().into_iter().filter(|v| v.needs_f16() || v.needs_subgroups()).step_by(97).collect();
    assert!(!needy.is_empty(), "some variants declare capabilities");
    for variant in needy {
        let refused = match parse(&link(&variant, Target::Naga)) {
            Err(_) => true,
            Ok(module) => validate(&module, Capabilities::SHADER_FLOAT16_IN_FLOAT32).is_err(),
        };
        assert!(refused, "{} is valid without what it declares", variant.name());
    }
}

#[test]
fn the_bindings_that_the_host_fills_are_those_that_the_shader_uses() {
    for variant in Variant::reachable().into_iter().step_by(7) {
        let module = parse(&link(&variant, Target::Naga)).expect("parses");
        let info = validate(&module, Capabilities::all()).expect("valid");
        let used: BTreeSet<u32> = module
            .global_variables
            .iter()
            .filter(|(handle, _)| !info.get_entry_point(0)[*handle].is_empty())
            .filter_map(|(_, global)| global.binding.as_ref().map(|b| b.binding))
            .collect();
        let filled: BTreeSet<u32> = variant.bindings().collect();
        assert_eq!(used, filled, "{}", variant.name());
    }
}

#[test]
fn a_kernel_binds_as_many_storage_buffers_as_is_said_and_no_more() {
    let storage_buffers = |variant: &Variant| {
        let module = parse(&link(variant, Target::Naga)).expect("parses");
        let is_storage = |global: &naga::GlobalVariable| matches!(global.space, naga::AddressSpace::Storage { .. });
        module.global_variables.iter().filter(|(_, global)| is_storage(global)).count()
    };
    // The bindings are the storage buffers and one uniform block, so few variants have to be parsed.
    let most = Variant::reachable().into_iter().max_by_key(|variant| variant.bindings().count());
    let most = most.expect("there are variants");
    assert_eq!(storage_buffers(&most), MOST_STORAGE_BUFFERS as usize, "{}", most.name());
}

#[test]
fn the_uniform_block_is_the_same_in_rust_and_in_the_shader() {
    let variant = Variant::reachable()[0];
    let module = parse(&link(&variant, Target::Naga)).expect("parses");
    let (_, task) =
        module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some("Task")).expect("the resident kernel has a Task");
    let naga::TypeInner::Struct { members, span } = &task.inner else { panic!("Task is a struct") };
    assert_eq!(*span as usize, size_of::<Task>(), "size");
    let rust = Task::layout();
    let shader: Vec<(String, usize)> =
        members.iter().map(|m| (m.name.clone().unwrap_or_default(), m.offset as usize)).collect();
    assert_eq!(rust.iter().map(|(name, offset)| ((*name).to_owned(), *offset)).collect::<Vec<_>>(), shader);
}

#[test]
fn every_shader_file_is_used_and_has_a_header() {
    let used: BTreeSet<&str> =
        Variant::reachable().iter().flat_map(|v| v.files().map(|f| f.path).collect::<Vec<_>>()).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let mut found = 0;
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("readable").map(|e| e.expect("readable").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|e| e == "wgsl") {
                let path = entry.strip_prefix(&root).expect("below shaders/").to_string_lossy().replace('\\', "/");
                let text = std::fs::read_to_string(&entry).expect("readable");
                assert!(used.contains(path.as_str()), "{path} is in no slot");
                assert!(text.starts_with("// "), "{path} does not begin with a header");
                found += 1;
            }
        }
    }
    assert_eq!(found, used.len(), "files on disk and files in slots");
}

#[test]
fn an_error_is_traced_to_our_own_file_and_line() {
    let linked = link(&Variant::reachable()[0], Target::Naga);
    let line = 1 + linked.source.lines().position(|l| l.starts_with("fn rstd_of")).expect("the function is linked");
    let (path, own) = linked.origin(line).expect("it has an origin");
    assert_eq!(path, "shared/statistics.wgsl");
    let text = include_str!("../shaders/shared/statistics.wgsl");
    assert!(text.lines().nth(own - 1).is_some_and(|l| l.starts_with("fn rstd_of")), "line {own} of {path}");
}
