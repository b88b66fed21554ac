//! Files that cannot be used, each refused with its path and what is wrong.

use crate::rig::{assert_says, layer};
use safetensors::tensor::{Dtype as Stored, TensorView};
use std::path::PathBuf;
use wgpu_norm::checkpoint::Checkpoint;
use wgpu_norm::layer::{BatchNorm1d, Entry};
use wgpu_norm::{Error, Result};

/// A file in a folder of its own, which lives as long as the folder does.
fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, bytes).expect("written");
    (folder, path)
}

fn opened(bytes: &[u8]) -> Result<Checkpoint> {
    let (folder, path) = file(bytes);
    let result = Checkpoint::open(&path);
    drop(folder);
    result
}

/// What a tensor is stored as.
type Row<'a> = (&'a str, Stored, &'a [usize], &'a [u8]);

/// The counter of a layer of one channel, loaded from a file with `row` in place of what PyTorch would store.
fn loaded(row: Row<'_>) -> Result<Option<u64>> {
    let (one, zero) = (1.0_f32.to_le_bytes(), 0_i64.to_le_bytes());
    let right: [Row<'_>; 5] = [
        ("weight", Stored::F32, &[1], &one),
        ("bias", Stored::F32, &[1], &one),
        ("running_mean", Stored::F32, &[1], &one),
        ("running_var", Stored::F32, &[1], &one),
        ("num_batches_tracked", Stored::I64, &[], &zero),
    ];
    let rows = right.into_iter().filter(|(name, ..)| *name != row.0).chain([row]);
    let views = rows.map(|(name, dtype, shape, bytes)| {
        (name, TensorView::new(dtype, shape.to_vec(), bytes).expect("as many bytes as the shape holds"))
    });
    let (_folder, path) = file(&safetensors::serialize(views, None).expect("serialized"));
    let mut norm = layer(BatchNorm1d::new(1));
    let before = norm.state_dict("");
    let result = Checkpoint::open(&path)?.load(&mut norm, "", true);
    if result.is_err() {
        assert_eq!(norm.state_dict(""), before, "a failed load changes nothing");
    }
    result.and_then(|_| norm.num_batches_tracked())
}

#[test]
fn what_is_no_checkpoint_is_refused_with_its_path() {
    assert_says(Checkpoint::open("nowhere/model.safetensors"), &["nowhere/model.safetensors"]);
    assert_says(Checkpoint::open("tests"), &["tests", "expected a file"]);
    let header = br#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let with = |len: u64, rest: &[u8]| [&len.to_le_bytes()[..], rest].concat();
    let len = header.len() as u64;
    assert!(opened(&with(len, &[&header[..], &[0; 8]].concat())).is_ok());
    let broken = [
        vec![],
        vec![1, 2, 3],
        with(u64::MAX, header),
        with(len + 1, header),
        with(2, b"no"),
        with(len, &[&header[..], &[0; 7]].concat()),
        with(len, &[&header[..], &[0; 9]].concat()),
    ];
    for bytes in broken {
        assert_says(opened(&bytes), &["model.safetensors"]);
    }
}

#[test]
fn values_of_other_kinds_are_refused_among_the_faults() {
    let bytes = [1_u8; 64];
    let half = half::f16::from_f32(0.5).to_le_bytes();
    let rows: [(Row<'_>, &[&str]); 8] = [
        (("weight", Stored::I8, &[1], &bytes[..1]), &["weight: expected F32, F16 or BF16, got I8"]),
        (("num_batches_tracked", Stored::F16, &[], &half), &["num_batches_tracked: expected an integer", "got 0.5"]),
        (("num_batches_tracked", Stored::I32, &[], &[0xff; 4]), &["num_batches_tracked: expected 0 or more, got -1"]),
        (("weight", Stored::U8, &[1], &bytes[..1]), &["weight: expected F32, F16 or BF16, got U8"]),
        (("bias", Stored::F32, &[2], &bytes[..8]), &["size mismatch for bias", "[2]", "[1]"]),
        (("num_batches_tracked", Stored::F32, &[], &bytes[..4]), &["num_batches_tracked: expected an integer"]),
        (("num_batches_tracked", Stored::I64, &[2], &bytes[..16]), &["size mismatch for num_batches_tracked", "[2]"]),
        (("num_batches_tracked", Stored::I64, &[], &[0xff; 8]), &["num_batches_tracked: expected 0 or more, got -1"]),
    ];
    for (row, parts) in rows {
        let result = loaded(row);
        assert!(matches!(result, Err(Error::StateDict { .. })), "{result:?}");
        assert_says(result, parts);
    }
}

#[test]
fn a_counter_may_be_a_list_of_one_or_not_be_there() {
    let seven = 7_i64.to_le_bytes();
    assert_eq!(loaded(("num_batches_tracked", Stored::I64, &[], &seven)), Ok(Some(7)));
    assert_eq!(loaded(("num_batches_tracked", Stored::I64, &[1], &seven)), Ok(Some(7)), "PyTorch before 0.4");
    assert_says(loaded(("num_batches", Stored::I64, &[], &seven)), &["Unexpected key(s)", "\"num_batches\""]);
}

/// What torch 2.15 loads as well: `{k: v.half()}`, `{k: v.int()}`, `{k: v.long()}` and `model.double()`.
#[test]
fn what_was_converted_as_a_whole_is_converted_back() {
    let half = half::f16::from_f32(7.0).to_le_bytes();
    assert_eq!(loaded(("num_batches_tracked", Stored::F16, &[], &half)), Ok(Some(7)));
    assert_eq!(loaded(("num_batches_tracked", Stored::F64, &[], &7_f64.to_le_bytes())), Ok(Some(7)));
    assert_eq!(loaded(("num_batches_tracked", Stored::I32, &[], &7_i32.to_le_bytes())), Ok(Some(7)));
    // One more than f32 counts to.
    assert_eq!(loaded(("num_batches_tracked", Stored::F64, &[], &16_777_217_f64.to_le_bytes())), Ok(Some(16_777_217)));

    let values = [0.1_f64, 1e300];
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let view = TensorView::new(Stored::F64, vec![2], &bytes).expect("two numbers");
    let (_folder, path) = file(&safetensors::serialize([("weight", view)], None).expect("serialized"));
    let mut norm = layer(BatchNorm1d::new(2));
    Checkpoint::open(&path).expect("opens").load(&mut norm, "", false).expect("it loads");
    assert_eq!(norm.get("weight").expect("it has one").data().to_f32(), [0.1, f32::INFINITY]);

    let ints: Vec<u8> = [-3_i32, 16_777_217].iter().flat_map(|n| n.to_le_bytes()).collect();
    let longs: Vec<u8> = [-3_i64, 16_777_217].iter().flat_map(|n| n.to_le_bytes()).collect();
    for (stored, bytes) in [(Stored::I32, ints), (Stored::I64, longs)] {
        let view = TensorView::new(stored, vec![2], &bytes).expect("two numbers");
        let (_folder, path) = file(&safetensors::serialize([("running_var", view)], None).expect("serialized"));
        Checkpoint::open(&path).expect("opens").load(&mut norm, "", false).expect("it loads");
        assert_eq!(norm.get("running_var").expect("it has one").data().to_f32(), [-3.0, 16_777_216.0], "{stored:?}");
    }
}

/// What `set_num_batches_tracked` refuses no state dict brings.
#[test]
fn a_counter_beyond_an_i64_is_a_fault() {
    let mut norm = layer(BatchNorm1d::new(1));
    let mut dict = norm.state_dict("").expect("state");
    dict.insert("num_batches_tracked".into(), Entry::Counter(u64::MAX));
    assert_says(norm.load_state_dict(&dict, "", true), &["num_batches_tracked", "18446744073709551615", "an I64"]);
}

#[test]
fn entries_that_cannot_be_read_name_the_file() {
    let view = TensorView::new(Stored::U8, vec![2], &[1, 2]).expect("two bytes");
    let (_folder, path) = file(&safetensors::serialize([("image", view)], None).expect("serialized"));
    let model = Checkpoint::open(&path).expect("opens");
    assert_eq!(model.get("nothing"), Ok(None));
    assert_says(model.get("image"), &["model.safetensors: image: expected F32, F16 or BF16, got U8"]);
}
