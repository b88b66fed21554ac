//! State by name, and state dicts in memory.

use crate::rig::{assert_close, assert_says, batches, engines, layer, ramp, tensor, trained, values};
use wgpu_norm::layer::{
    BatchNorm1d, BatchNorm2d, Entry, IncompatibleKeys, InstanceNorm1d, InstanceNorm2d, Layer, LayerNorm, StateDict,
};
use wgpu_norm::{Data, Dtype, Error, Tensor};

#[test]
fn state_is_read_and_replaced_by_name() {
    let mut norm = layer(BatchNorm1d::new(2).dtype(Dtype::F16));
    assert_says(norm.get("wieght"), &["\"wieght\"", "BatchNorm1d", "weight, bias, running_mean, running_var"]);
    assert_says(norm.get("num_batches_tracked"), &["num_batches_tracked", "weight"]);
    assert_says(norm.set("weight", tensor(&[2], &[1.0; 2])), &["weight", "f16", "f32"]);
    assert_says(
        norm.set("running_var", Tensor::zeros([2], Dtype::F16).expect("small")),
        &["running_var", "f32", "f16"],
    );
    assert_says(norm.set("running_mean", tensor(&[1, 2], &[1.0; 2])), &["running_mean", "[2]", "[1, 2]"]);
    assert_says(
        layer(LayerNorm::new([2])).set("running_mean", tensor(&[2], &[1.0; 2])),
        &["running_mean", "LayerNorm"],
    );
    assert_says(layer(LayerNorm::new([2])).set_num_batches_tracked(1), &["num_batches_tracked"]);

    let f16 = Tensor::new([2], Data::from_f64(Dtype::F16, &[2.0, 3.0])).expect("two");
    norm.set("weight", f16.clone()).expect("it fits");
    assert_says(norm.set_num_batches_tracked(u64::MAX), &["num_batches_tracked", "at most", "18446744073709551615"]);
    norm.set_num_batches_tracked(41).expect("it counts");
    let copy = norm.clone();
    norm.forward(&batches()[0]).expect("a batch");
    assert_eq!((norm.num_batches_tracked(), copy.num_batches_tracked()), (Ok(Some(42)), Ok(Some(41))));
    norm.reset_running_stats().expect("on the host");
    assert_eq!((norm.num_batches_tracked(), norm.get("running_var")), (Ok(Some(0)), Ok(tensor(&[2], &[1.0; 2]))));
    assert_eq!(norm.get("weight"), Ok(f16));
    norm.forward(&batches()[0]).expect("a batch");
    norm.reset_parameters().expect("on the host");
    assert_eq!(norm.state_dict(""), layer(BatchNorm1d::new(2).dtype(Dtype::F16)).state_dict(""));
}

#[test]
fn a_state_dict_carries_everything_to_the_bit() {
    let (mut old, mut new) = (trained(), layer(BatchNorm1d::new(2)));
    let mut dict = old.state_dict("a.").expect("state");
    dict.extend(layer(LayerNorm::new([7])).state_dict("b.").expect("state"));
    let keys = new.load_state_dict(&dict, "a.", true).expect("all there");
    assert_eq!(keys, IncompatibleKeys::default());
    assert_eq!(new.state_dict(""), old.state_dict(""));
    let x = ramp(&[3, 2]);
    assert_eq!(new.eval().forward(&x), old.eval().forward(&x));
    let _ = (new.train().forward(&x), old.train().forward(&x));
    assert_eq!(new.eval().forward(&x), old.eval().forward(&x), "and after another step of training");
}

#[test]
fn all_that_does_not_fit_is_said_at_once_and_nothing_is_loaded() {
    let mut dict = trained().state_dict("a.").expect("state");
    dict.remove("a.bias");
    dict.insert("a.weight".into(), tensor(&[3], &[9.0; 3]).into());
    dict.insert("a.running_var".into(), Entry::Counter(3));
    dict.insert("a.num_batches_tracked".into(), tensor(&[1], &[9.5]).into());
    dict.insert("a.gamma".into(), tensor(&[2], &[9.0; 2]).into());
    dict.insert("a.sub.weight".into(), tensor(&[2], &[9.0; 2]).into());
    dict.insert("ab".into(), tensor(&[2], &[9.0; 2]).into());
    let mut norm = trained();
    let before = norm.state_dict("").expect("state");
    let error = norm.load_state_dict(&dict, "a.", true).expect_err("nearly nothing fits");
    let Error::StateDict { layer, missing, unexpected, faults } = &error else { panic!("{error:?}") };
    assert_eq!((layer.as_str(), missing.as_slice()), ("BatchNorm1d", ["a.bias".to_owned()].as_slice()));
    assert_eq!(unexpected, &["a.gamma", "a.sub.weight"]);
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert_says::<()>(
        Err(error.clone()),
        &[
            "Error(s) in loading state_dict for BatchNorm1d",
            "Missing key(s) in state_dict: \"a.bias\".",
            "Unexpected key(s) in state_dict: \"a.gamma\", \"a.sub.weight\".",
            "size mismatch for a.weight: copying a param with shape [3] from checkpoint, the shape in current model is [2]",
            "size mismatch for a.running_var",
            "a.num_batches_tracked: expected an integer from 0 on, got 9.5",
        ],
    );
    assert_eq!(norm.state_dict("").expect("state"), before);
    assert_says(norm.load_state_dict(&dict, "a.", false), &["size mismatch for a.weight"]);
    assert_eq!(norm.state_dict("").expect("state"), before, "shapes have to match, strict or not");
}

#[test]
fn what_is_not_strict_loads_what_there_is() {
    let mut dict = StateDict::new();
    dict.insert("weight".into(), tensor(&[2], &[7.0, 8.0]).into());
    dict.insert("gamma".into(), tensor(&[2], &[9.0; 2]).into());
    let mut norm = trained();
    let before = norm.state_dict("").expect("state");
    let keys = norm.load_state_dict(&dict, "", false).expect("what there is fits");
    assert_eq!(keys.missing, ["bias", "running_mean", "running_var"]);
    assert_eq!(keys.unexpected, ["gamma"]);
    let want: StateDict = before.into_iter().chain([("weight".into(), tensor(&[2], &[7.0, 8.0]).into())]).collect();
    assert_eq!(norm.state_dict("").expect("state"), want, "the counter of estimates that stay stays too");
}

#[test]
fn state_dicts_from_before_the_counter_leave_it() {
    for mut norm in [trained(), layer(InstanceNorm1d::new(2).affine(true).track_running_stats(true))] {
        let mut dict = trained().state_dict("").expect("state");
        dict.remove("num_batches_tracked");
        norm.set_num_batches_tracked(5).expect("it counts");
        norm.load_state_dict(&dict, "", true).expect("as PyTorch does");
        assert_eq!(norm.num_batches_tracked(), Ok(Some(5)), "as in PyTorch 2.15");
        assert_eq!(norm.get("running_mean"), trained().get("running_mean"));
    }
}

#[test]
fn an_instance_norm_without_estimates_says_why_it_refuses_them() {
    let tracked = layer(InstanceNorm2d::new(2).track_running_stats(true)).state_dict("net.1.").expect("state");
    let mut norm = layer(InstanceNorm2d::new(2));
    let why = "Unexpected running stats buffer(s) \"net.1.running_mean\" and \"net.1.running_var\" for InstanceNorm2d \
               with track_running_stats=False. If state_dict is a checkpoint saved before 0.4.0, this may be expected \
               because InstanceNorm2d does not track running stats by default since 0.4.0.";
    let also = "Unexpected key(s) in state_dict: \"net.1.num_batches_tracked\".";
    assert_says(norm.load_state_dict(&tracked, "net.1.", true), &[why, also]);
    assert_says(norm.load_state_dict(&tracked, "net.1.", false), &[why]);
    let mut untracked = layer(BatchNorm2d::new(2).affine(false).track_running_stats(false));
    let keys = untracked.load_state_dict(&tracked, "net.1.", false).expect("batch normalization has no such rule");
    assert_eq!(keys.unexpected, ["net.1.num_batches_tracked", "net.1.running_mean", "net.1.running_var"]);
}

#[test]
fn values_take_the_type_of_the_layer() {
    for from in Dtype::ALL {
        for to in Dtype::ALL {
            let mut dict = StateDict::new();
            let stored = Data::from_f64(from, &[1.0 / 3.0, -65504.0]);
            for name in ["weight", "bias", "running_mean", "running_var"] {
                dict.insert(name.into(), Tensor::new([2], stored.clone()).expect("two").into());
            }
            let mut norm = layer(BatchNorm1d::new(2).dtype(to));
            norm.load_state_dict(&dict, "", true).expect("types are converted");
            assert_eq!(
                norm.get("bias").expect("there").into_data(),
                Data::from_f64(to, &stored.to_f64()),
                "{from} to {to}"
            );
            assert_eq!(values(&norm.get("running_var").expect("there")), stored.to_f32(), "estimates are f32");
        }
    }
}

/// Where the engine is a GPU the state lies in its memory, and clones share it until one of them trains.
#[test]
fn wherever_it_lies_a_clone_has_a_state_of_its_own_and_loading_brings_the_same_bits() {
    for engine in engines() {
        let on = |description| Layer::new(&engine, description).expect("its options make sense");
        let mut norm = on(BatchNorm1d::new(2).momentum(None));
        norm.set("bias", tensor(&[2], &[0.25, -3.0])).expect("it fits");
        norm.forward(&batches()[0]).expect("a batch");
        let mut copy = norm.clone();
        let before = copy.state_dict("").expect("state");
        norm.forward(&batches()[1]).expect("a batch");
        assert_eq!(copy.state_dict(""), Ok(before), "{}: the clone's stays", engine.name());
        assert_eq!((norm.num_batches_tracked(), copy.num_batches_tracked()), (Ok(Some(2)), Ok(Some(1))));
        assert_close(&norm.get("running_mean").expect("one"), &[2.0, 20.0], engine.name());
        copy.forward(&batches()[1]).expect("a batch");
        assert_eq!(copy.state_dict(""), norm.state_dict(""), "{}: the same batches, the same bits", engine.name());

        let mut fresh = on(BatchNorm1d::new(2));
        fresh.load_state_dict(&norm.state_dict("a.").expect("state"), "a.", true).expect("all there");
        let x = ramp(&[3, 2]);
        assert_eq!(fresh.eval().forward(&x), norm.eval().forward(&x), "{}", engine.name());
    }
}
