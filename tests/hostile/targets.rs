//! What hostile bytes are given to. Each function takes any bytes and panics where something is wrong with what the
//! crate makes of them. `tests/hostile/main.rs` replays the corpus, `fuzz/` looks for more.

// The readers live in the program, which is no library: they are built in here as they are.
#[allow(dead_code, reason = "the program has more uses for it")]
#[path = "../../src/cli/attributes.rs"]
mod attributes;
#[allow(dead_code, reason = "the program has more uses for it")]
#[path = "../../src/cli/case.rs"]
mod case;
#[allow(dead_code, reason = "the program has more uses for it")]
#[path = "../../src/cli/compare.rs"]
mod compare;
#[path = "plans.rs"]
mod drawn;
#[allow(dead_code, reason = "the program has more uses for it")]
#[path = "../../src/cli/learned.rs"]
mod learned;
#[allow(dead_code, reason = "the program has more uses for it")]
#[path = "../../src/cli/memory.rs"]
mod memory;
#[allow(dead_code, reason = "the program has more uses for it")]
#[path = "../../src/cli/npy.rs"]
mod npy;
#[allow(dead_code, reason = "the program has more uses for it")]
#[path = "../../src/cli/place.rs"]
mod place;
#[allow(dead_code, reason = "the program has more uses for it")]
#[path = "../../src/cli/ranks.rs"]
mod ranks;
#[allow(dead_code, reason = "the program has more uses for it")]
#[path = "../../src/cli/safetensors_file.rs"]
mod safetensors_file;

use serde_json::Value;
use std::path::Path;
use tempfile::NamedTempFile;
use wgpu_norm::{Choice, Engine, Tensor};

/// Bytes of tensors that the header of a case may speak of.
const MOST_DATA: usize = 1 << 14;

/// A normalization drawn from the bytes.
pub(crate) fn plan(bytes: &[u8]) {
    drawn::plan(bytes);
}

/// A `.npy` file. What is read is written and read again.
pub(crate) fn npy(bytes: &[u8]) {
    let Ok(tensor) = npy::read(bytes) else { return };
    assert!(tensor.data().bytes().len() <= bytes.len(), "{:?} out of {} bytes", tensor.shape(), bytes.len());
    let mut written = Vec::new();
    npy::write(&tensor, &mut written).expect("what .npy gave, .npy holds");
    let again = npy::read(&written).expect("what was written is read");
    assert!(is_same(&again, &tensor), "{:?}", tensor.shape());
    if let Some((start, spec)) = npy::place(bytes) {
        assert!(spec == tensor.spec() && bytes[start..] == *tensor.data().bytes(), "read from its place: {spec:?}");
    }
}

/// A `.safetensors` file, of which everything is read.
pub(crate) fn safetensors(bytes: &[u8]) {
    with_file(bytes, |path| {
        let Ok(file) = safetensors_file::TensorFile::open(path) else { return };
        for name in file.names() {
            let size = file.bytes_of(&name).ok().flatten().expect("a tensor that is named has a size");
            assert!(size <= bytes.len() as u64, "{name} has {size} of {} bytes", bytes.len());
            if let Ok(Some(tensor)) = file.tensor(&name) {
                assert_eq!(tensor.data().bytes().len() as u64, size, "{name}");
                assert_eq!(Some(tensor.dtype()), file.dtype(&name), "{name}");
            }
            // Either may be an error; neither may be more.
            let _ = (file.integer(&name), file.integers(&name));
        }
        for prefix in ["", "layer."] {
            let _ = file.running(prefix);
        }
    });
}

/// A case: its header up to the end of the first line, then what its tensors are filled with. It is run on the CPU
/// and on the reference.
pub(crate) fn case(bytes: &[u8]) {
    with_file(&case_file(bytes), |path| {
        let Ok(case) = case::Case::read(path) else { return };
        for choice in [Choice::Reference, Choice::Cpu] {
            let engine = pollster::block_on(Engine::open(&choice)).expect("both are always there");
            let mut found = case::Found::default();
            if let Ok(worst) = pollster::block_on(case.run(&engine, &mut found)) {
                assert!((0.0..=1.0).contains(&worst), "passed with {worst} times the tolerance");
            }
        }
    });
}

/// The file of a case: with the header's length before it, and as much data as it asks for, within reason.
fn case_file(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let (header, data) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let tensors = match serde_json::from_slice(header) {
        Ok(Value::Object(tensors)) => tensors,
        _ => serde_json::Map::new(),
    };
    let end = |tensor: &Value| tensor["data_offsets"][1].as_u64().and_then(|end| usize::try_from(end).ok());
    let needed = tensors.values().filter_map(end).max().unwrap_or(0).min(MOST_DATA);
    let filling = if data.is_empty() { &[0][..] } else { data };
    let data: Vec<u8> = filling.iter().copied().cycle().take(needed).collect();
    [&(header.len() as u64).to_le_bytes()[..], header, &data].concat()
}

/// Whether two tensors have the same shape and bits: a NaN is the same as itself.
fn is_same(one: &Tensor, other: &Tensor) -> bool {
    one.spec() == other.spec() && one.data().bytes() == other.data().bytes()
}

/// The readers take files, not bytes: one a thread, in memory where the system has a place for that.
fn with_file(bytes: &[u8], use_it: impl FnOnce(&Path)) {
    thread_local! {
        static FILE: NamedTempFile =
            NamedTempFile::new_in("/dev/shm").or_else(|_| NamedTempFile::new()).expect("a place for a file");
    }
    FILE.with(|file| {
        std::fs::write(file.path(), bytes).expect("written");
        use_it(file.path());
    });
}
