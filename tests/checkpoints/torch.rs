//! Against what PyTorch 2.5.1 saved and computed.

use crate::rig::{engines, layer};
use std::path::Path;
use wgpu_norm::checkpoint::Checkpoint;
use wgpu_norm::layer::{
    BatchNorm1d, BatchNorm2d, GroupNorm, InstanceNorm1d, InstanceNorm2d, Layer, LayerNorm, RmsNorm,
};
use wgpu_norm::{Dtype, Tensor};

fn model() -> Checkpoint {
    Checkpoint::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints/torch.safetensors")).expect("opens")
}

fn stored(model: &Checkpoint, name: &str) -> Tensor {
    let entry = model.get(name).expect("readable").unwrap_or_else(|| panic!("{name} is there"));
    entry.tensor().expect("a tensor").clone()
}

/// Two roundings of the storage type apart, beside what f32 arithmetic is off by.
#[track_caller]
fn assert_matches(got: &Tensor, want: &Tensor, what: &str) {
    assert_eq!(got.spec(), want.spec(), "{what}");
    let unit = 4.0 * want.dtype().unit_roundoff() + 2e-6;
    for (got, want) in got.data().to_f64().into_iter().zip(want.data().to_f64()) {
        assert!((got - want).abs() <= unit * (1.0 + want.abs()), "{what}: {got} instead of {want}");
    }
}

#[test]
fn what_pytorch_saved_computes_what_it_computed_there() {
    let model = model();
    for engine in engines() {
        let rows = [
            ("bn", Layer::new(&engine, BatchNorm2d::new(4))),
            ("group", Layer::new(&engine, GroupNorm::new(2, 4).eps(1e-6))),
            ("instance", Layer::new(&engine, InstanceNorm2d::new(4).affine(true).track_running_stats(true))),
            ("layer", Layer::new(&engine, LayerNorm::new([2, 2]).dtype(Dtype::F16))),
            ("rms", Layer::new(&engine, RmsNorm::new([2]).eps(1e-5).dtype(Dtype::Bf16))),
        ];
        for (name, norm) in rows {
            let mut norm = norm.expect("made");
            model.load(&mut norm, &format!("{name}."), true).expect("everything is there, and nothing else");
            let output = norm.eval().forward(&stored(&model, &format!("check.{name}.input"))).expect("evaluation");
            let what = format!("{name} on {}", engine.name());
            assert_matches(&output, &stored(&model, &format!("check.{name}.output")), &what);
        }
    }
}

#[test]
fn running_estimates_follow_as_in_pytorch() {
    let model = model();
    for engine in engines() {
        let rows = [
            ("bn", Layer::new(&engine, BatchNorm1d::new(3))),
            ("average", Layer::new(&engine, BatchNorm1d::new(3).momentum(None))),
            ("instance", Layer::new(&engine, InstanceNorm1d::new(3).track_running_stats(true).momentum(0.25))),
            ("still", Layer::new(&engine, InstanceNorm1d::new(3).track_running_stats(true).momentum(None))),
            ("untracked", Layer::new(&engine, BatchNorm1d::new(3).track_running_stats(false))),
        ];
        for (name, norm) in rows {
            let (mut norm, what) = (norm.expect("made"), format!("{name} on {}", engine.name()));
            for batch in 0..3 {
                let output = norm.forward(&stored(&model, &format!("follow.batch.{batch}"))).expect("training");
                if batch == 2 {
                    assert_matches(&output, &stored(&model, &format!("follow.{name}.output")), &what);
                }
            }
            for estimate in ["running_mean", "running_var"] {
                let key = format!("follow.{name}.{estimate}");
                assert_eq!(norm.get(estimate).is_ok(), model.shape(&key).is_some(), "{what}");
                if let Ok(got) = norm.get(estimate) {
                    assert_matches(&got, &stored(&model, &key), &what);
                }
            }
            let counter = model.get(&format!("follow.{name}.num_batches_tracked")).expect("readable");
            assert_eq!(norm.num_batches_tracked(), Ok(counter.and_then(|entry| entry.counter())), "{what}");
        }
    }
}

#[test]
fn gradients_are_those_of_pytorch_in_both_modes() {
    let model = model();
    let (x, upstream) = (stored(&model, "gradient.input"), stored(&model, "gradient.upstream"));
    for (engine, mode) in engines().iter().flat_map(|engine| [(engine, "eval"), (engine, "train")]) {
        let mut norm = Layer::new(engine, BatchNorm1d::new(3)).expect("made");
        model.load(&mut norm, "grad.", true).expect("all but the counter is there");
        if mode == "eval" {
            norm.eval();
        }
        let forward = norm.forward_saving(&x).expect("forward");
        let gradients = norm.backward(&x, &upstream, &forward, None).expect("backward");
        for (name, got) in [("input", gradients.input), ("weight", gradients.weight), ("bias", gradients.bias)] {
            let what = format!("{mode} {name} on {}", engine.name());
            assert_matches(&got.expect("asked for"), &stored(&model, &format!("gradient.{mode}.{name}")), &what);
        }
    }
}

#[test]
fn a_layer_takes_its_own_part_of_a_model_whatever_its_type() {
    let model = model();
    let mut half = layer(BatchNorm2d::new(4).dtype(Dtype::F16));
    model.load(&mut half, "bn.", true).expect("converted");
    assert_eq!(half.get("weight").expect("there").dtype(), Dtype::F16);
    assert_eq!(half.get("running_var").expect("there"), stored(&model, "bn.running_var"));
    assert_eq!(half.num_batches_tracked(), Ok(Some(3)));

    let mut wide = layer(RmsNorm::new([2]));
    model.load(&mut wide, "rms.", true).expect("converted");
    assert_eq!(wide.get("weight").expect("there").data().to_f32(), stored(&model, "rms.weight").data().to_f32());

    let mut bare = layer(BatchNorm2d::new(4).affine(false));
    let error = model.load(&mut bare, "bn.", true).expect_err("it has no weight").to_string();
    assert!(error.contains(r#"Unexpected key(s) in state_dict: "bn.bias", "bn.weight"."#), "{error}");
    let keys = model.load(&mut bare, "bn.", false).expect("the estimates are there");
    assert_eq!(keys.unexpected, ["bn.bias", "bn.weight"]);

    let mut plain = layer(InstanceNorm2d::new(4).affine(true));
    let error = model.load(&mut plain, "instance.", true).expect_err("it keeps no estimates").to_string();
    assert!(error.contains("track_running_stats=False"), "{error}");
}
