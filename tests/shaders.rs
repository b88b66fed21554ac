//! What shaders declare and are made of. `tests/compilers` compiles each of them. Needs no GPU.

#[path = "common/wgsl.rs"]
mod wgsl;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use wgpu_norm::gpu::MOST_STORAGE_BUFFERS;
use wgpu_norm::gpu::kernels::{Target, Task, Variant, link};
use wgsl::{CORE, parse, validate};

#[test]
fn what_a_variant_declares_is_needed() {
    let needy: Vec<Variant> =
        Variant::reachable().into_iter().filter(|v| v.needs_f16() || v.needs_subgroups()).step_by(97).collect();
    assert!(!needy.is_empty(), "some variants declare capabilities");
    for variant in needy {
        let refused = match parse(&link(&variant, Target::Naga)) {
            Err(_) => true,
            Ok(module) => validate(&module, CORE).is_err(),
        };
        assert!(refused, "{} is valid without what it declares", variant.name());
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

/// A loop's counter, if it begins as `for (var i = …; i < …; i += …)` and ends by itself.
fn counter(line: &str) -> Option<&str> {
    let head = line.trim().strip_prefix("for (var ")?.strip_suffix(") {")?;
    let [begin, condition, step] = head.split("; ").collect::<Vec<_>>().try_into().ok()?;
    let (counter, _) = begin.split_once(" = ")?;
    let counts = condition.strip_prefix(counter)?.starts_with(" < ");
    let steps = step.strip_prefix(counter)?;
    (counts && (steps == "++" || steps.starts_with(" += "))).then_some(counter)
}

/// Whether a line gives a variable another value.
fn assigns(line: &str, name: &str) -> bool {
    let rest = line.trim().strip_prefix(name);
    !name.is_empty()
        && rest.is_some_and(|rest| [" = ", " += ", " -= ", "--", "++"].iter().any(|by| rest.starts_with(by)))
}

/// What the host says of them when it asks wgpu for no guards.
#[test]
fn every_loop_counts_up_to_its_end() {
    let files = Variant::reachable().into_iter().flat_map(|variant| variant.files().copied().collect::<Vec<_>>());
    let files: BTreeMap<&str, &str> = files.map(|file| (file.path, file.text)).collect();
    let mut loops = 0;
    for (path, text) in files {
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().starts_with("//")).collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.trim();
            assert!(!code.starts_with("while") && !code.starts_with("loop"), "{path}: {line}");
            if !code.starts_with("for ") {
                continue;
            }
            let counter = counter(code).unwrap_or_else(|| panic!("{path} has a loop of another form: {line}"));
            let end = line.replace(code, "}");
            let body = lines[at + 1..].iter().take_while(|line| **line != end);
            let bound = code.split("; ").nth(1).expect("it has a condition");
            // The counter is the first of them.
            for name in bound.split(|c: char| !(c.is_alphanumeric() || c == '_')) {
                assert!(!body.clone().any(|inner| assigns(inner, name)), "{path}: {line} changes {name}");
            }
            assert!(bound.starts_with(counter), "{path}: {line}");
            loops += 1;
        }
    }
    assert!(loops > 30, "{loops} loops");
}

#[test]
fn a_loop_of_another_form_is_found() {
    assert_eq!(counter("    for (var k = lane; k < count; k += LANES) {"), Some("k"));
    for wrong in ["for (var k = 9u; k > 0u; k--) {", "for (; k < 9u; k++) {", "for (var k = 0u; i < 9u; k++) {"] {
        assert_eq!(counter(wrong), None, "{wrong}");
    }
    assert!(assigns("    count += 1u;", "count") && !assigns("    let count = 1u;", "count"));
}

#[test]
fn an_error_is_traced_to_our_own_file_and_line() {
    let linked = link(&Variant::reachable()[0], Target::Naga);
    let line = 1 + linked.source.lines().position(|l| l.starts_with("fn rstd_of")).expect("the function is linked");
    let (path, own) = linked.origin(line).expect("it has an origin");
    assert_eq!(path, "shared/rstd.wgsl");
    let text = include_str!("../shaders/shared/rstd.wgsl");
    assert!(text.lines().nth(own - 1).is_some_and(|l| l.starts_with("fn rstd_of")), "line {own} of {path}");
}
