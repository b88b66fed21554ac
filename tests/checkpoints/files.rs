//! What is written, and that it is read again to the bit.

use crate::rig::{layer, ramp, trained};
use safetensors::tensor::{Dtype as Stored, SafeTensors};
use std::collections::BTreeMap;
use std::path::Path;
use wgpu_norm::checkpoint::{self, Checkpoint};
use wgpu_norm::layer::{BatchNorm1d, BatchNorm2d, Entry, InstanceNorm1d, Layer, LayerNorm, RmsNorm, StateDict};
use wgpu_norm::{Dtype, Tensor};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn files_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("readable");
    entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn files_have_the_keys_shapes_and_types_of_pytorch() {
    let (folder, mut state) = (folder(), trained().state_dict("stem.bn.").expect("state"));
    let others = [
        layer(LayerNorm::new([2, 3]).dtype(Dtype::F16)).state_dict("ln."),
        layer(RmsNorm::new([5]).dtype(Dtype::Bf16)).state_dict(""),
        layer(InstanceNorm1d::new(4)).state_dict("nothing."),
    ];
    for other in others {
        state.extend(other.expect("state"));
    }
    let path = folder.path().join("model.safetensors");
    checkpoint::save(&path, &state).expect("written");

    let bytes = std::fs::read(&path).expect("readable");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
    let file = SafeTensors::deserialize(&bytes).expect("a file");
    let got: BTreeMap<_, _> =
        file.iter().map(|(name, view)| (name.to_owned(), (view.dtype(), view.shape().to_vec()))).collect();
    let want = [
        ("ln.bias", Stored::F16, vec![2, 3]),
        ("ln.weight", Stored::F16, vec![2, 3]),
        ("stem.bn.bias", Stored::F32, vec![2]),
        ("stem.bn.num_batches_tracked", Stored::I64, vec![]),
        ("stem.bn.running_mean", Stored::F32, vec![2]),
        ("stem.bn.running_var", Stored::F32, vec![2]),
        ("stem.bn.weight", Stored::F32, vec![2]),
        ("weight", Stored::BF16, vec![5]),
    ];
    assert_eq!(got, want.into_iter().map(|(name, dtype, shape)| (name.to_owned(), (dtype, shape))).collect());
    assert_eq!(file.tensor("stem.bn.num_batches_tracked").expect("there").data(), 1_i64.to_le_bytes());
    assert_eq!(header.metadata().as_ref().and_then(|notes| notes.get("format")).map(String::as_str), Some("pt"));
    assert_eq!(Checkpoint::open(&path).expect("opens").metadata().len(), 1);
    assert_eq!(files_in(folder.path()), ["model.safetensors"], "no temporary file stays");
}

#[test]
fn a_loaded_layer_goes_on_to_the_bit() {
    let folder = folder();
    let path = folder.path().join("bn.safetensors");
    for description in [BatchNorm1d::new(2), BatchNorm1d::new(2).momentum(None).dtype(Dtype::Bf16)] {
        let mut old = layer(description.clone());
        let _ = old.forward(&ramp(&[7, 2])).expect("training");
        checkpoint::save(&path, &old.state_dict("a.").expect("state")).expect("written");
        let mut new = layer(description);
        Checkpoint::open(&path).expect("opens").load(&mut new, "a.", true).expect("all there");
        assert_eq!(new.state_dict(""), old.state_dict(""));
        let evaluated = |norm: &mut Layer| norm.eval().forward(&ramp(&[3, 2])).expect("evaluation");
        assert_eq!(evaluated(&mut new), evaluated(&mut old));
        for norm in [&mut old, &mut new] {
            norm.train().forward(&ramp(&[5, 2])).expect("training");
        }
        assert_eq!(evaluated(&mut new), evaluated(&mut old), "and after training goes on");
    }
}

#[test]
fn a_model_of_hundreds_of_layers_gives_each_its_own() {
    let folder = folder();
    let path = folder.path().join("model.safetensors");
    let name = |i: usize| format!("blocks.{i}.norm.");
    let number = |i: usize| Tensor::from_f32([1], vec![i as f32]).expect("one");
    let mut state = StateDict::new();
    for i in 0..600 {
        let mut norm = layer(BatchNorm1d::new(1));
        norm.set("running_mean", number(i)).expect("it fits");
        state.extend(norm.state_dict(&name(i)).expect("state"));
    }
    checkpoint::save(&path, &state).expect("written");
    let model = Checkpoint::open(&path).expect("opens");
    assert_eq!(model.names().count(), 3000);
    for i in (0..600).rev() {
        let mut norm = layer(BatchNorm1d::new(1));
        model.load(&mut norm, &name(i), true).expect("all there");
        assert_eq!(norm.get("running_mean"), Ok(number(i)));
    }
}

/// 64 GiB of somebody else's tensor, of which a file system stores nothing and a reader may read nothing.
#[cfg(unix)]
#[test]
fn the_rest_of_a_file_is_not_read() {
    use std::io::Write;
    let folder = folder();
    let path = folder.path().join("huge.safetensors");
    let elements = 1_u64 << 34;
    let (own, end) = (4 * elements, 4 * elements + 16);
    let header = format!(
        r#"{{"huge":{{"dtype":"F32","shape":[{elements}],"data_offsets":[0,{own}]}},"n.bias":{{"dtype":"F32","shape":[2],"data_offsets":[{own},{}]}},"n.weight":{{"dtype":"F32","shape":[2],"data_offsets":[{},{end}]}}}}"#,
        own + 8,
        own + 8
    );
    let mut file = std::fs::File::create(&path).expect("created");
    file.write_all(&(header.len() as u64).to_le_bytes()).expect("written");
    file.write_all(header.as_bytes()).expect("written");
    if file.set_len(8 + header.len() as u64 + end).is_err() {
        println!("this file system holds no file of 64 GiB");
        return;
    }
    let model = Checkpoint::open(&path).expect("opens");
    assert_eq!(model.bytes_of("huge"), Some(own));
    let mut norm = layer(LayerNorm::new([2]));
    model.load(&mut norm, "n.", true).expect("all there");
    assert_eq!(norm.get("weight").expect("there").data().to_f32(), [0.0, 0.0]);
    let error = model.load(&mut norm, "", true).expect_err("without its prefix").to_string();
    assert!(error.contains(r#"Unexpected key(s) in state_dict: "huge", "n.bias", "n.weight"."#), "{error}");
}

#[test]
fn an_older_file_is_replaced_whole_or_not_at_all() {
    let folder = folder();
    let path = folder.path().join("bn.safetensors");
    let mut norm = layer(BatchNorm2d::new(2));
    checkpoint::save(&path, &norm.state_dict("").expect("state")).expect("written");
    let before = std::fs::read(&path).expect("readable");
    let mut counted_on = norm.state_dict("").expect("state");
    counted_on.insert("num_batches_tracked".into(), Entry::Counter(u64::MAX));
    let error = checkpoint::save(&path, &counted_on).expect_err("no I64 holds it").to_string();
    assert!(error.contains("num_batches_tracked") && error.contains("18446744073709551615"), "{error}");
    assert_eq!(std::fs::read(&path).expect("readable"), before);
    norm.set_num_batches_tracked(9).expect("it counts");
    checkpoint::save(&path, &norm.state_dict("").expect("state")).expect("written");
    assert_ne!(std::fs::read(&path).expect("readable"), before);
    assert!(checkpoint::save(folder.path(), &StateDict::new()).is_err(), "a folder is no file");
    assert_eq!(files_in(folder.path()), ["bn.safetensors"]);
}

#[cfg(unix)]
#[test]
fn a_checkpoint_is_as_readable_as_any_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let [saved, plain] = ["saved.safetensors", "plain"].map(|name| folder.path().join(name));
    checkpoint::save(&saved, &StateDict::new()).expect("written");
    std::fs::write(&plain, []).expect("written");
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode();
    assert_eq!(mode(&saved), mode(&plain));
}
