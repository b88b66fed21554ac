//! Forward and backward passes: training, evaluation, frozen, and what they leave of the state.

use crate::rig::{assert_close, assert_says, batches, count, engines, layer, ramp, tensor, values};
use std::future::Future;
use std::task::{Context, Waker};
use wgpu_norm::layer::{
    BatchNorm1d, BatchNorm2d, GroupNorm, Input, InstanceNorm1d, InstanceNorm2d, Layer, LayerNorm, RmsNorm,
};
use wgpu_norm::norm::{self, Fused};
use wgpu_norm::plan::{Activation, Epilogue, RunningVariance};
use wgpu_norm::{Data, Dtype, Engine, Layout, Parameters, Tensor, Wanted};

#[test]
fn running_estimates_follow_in_training_alone() {
    for engine in engines() {
        for (momentum, mean, var) in [(Some(0.5), 1.75, 4.75), (None, 2.0, 5.0), (Some(0.0), 0.0, 1.0)] {
            let what = format!("momentum {momentum:?} on {}", engine.name());
            let mut norm = Layer::new(&engine, BatchNorm1d::new(2).momentum(momentum)).expect("made");
            for batch in batches() {
                norm.forward(&batch).expect("a batch");
            }
            // The other channel's variance is 100 times that of the first, save for the initial 1.
            let other =
                if momentum == Some(0.5) { 0.25 + 450.0 } else { var * if momentum.is_none() { 100.0 } else { 1.0 } };
            assert_close(&norm.get("running_mean").expect("there"), &[mean, 10.0 * mean], &what);
            assert_close(&norm.get("running_var").expect("there"), &[var, other], &what);
            assert_eq!(norm.num_batches_tracked(), Ok(Some(2)), "{what}");

            let trained = norm.state_dict("").expect("state");
            let x = tensor(&[1, 2], &[3.0, -1.0]);
            let y = norm.eval().forward(&x).expect("one value is enough");
            let want = [(3.0 - mean) / (var + 1e-5).sqrt(), (-1.0 - 10.0 * mean) / (other + 1e-5).sqrt()];
            assert_close(&y, &want, &what);
            assert_eq!(norm.state_dict("").expect("state"), trained, "evaluation changes nothing: {what}");
            norm.train().forward(&batches()[0]).expect("a batch");
            assert_eq!(norm.num_batches_tracked(), Ok(Some(3)), "{what}");
        }
    }
}

/// Batches of variance 1 and 4 in one channel, 100 times that in the other; by hand.
#[test]
fn running_variances_may_be_biased() {
    for engine in engines() {
        let batch = BatchNorm1d::new(2).momentum(Some(0.5)).running_variance(RunningVariance::Biased);
        let instance = InstanceNorm1d::new(2).track_running_stats(true).momentum(Some(0.5));
        let instance = instance.running_variance(RunningVariance::Biased);
        for norm in [Layer::new(&engine, batch), Layer::new(&engine, instance)] {
            let mut norm = norm.expect("made");
            for batch in batches() {
                let shape: &[usize] = if norm.class() == "InstanceNorm1d" { &[1, 2, 2] } else { &[2, 2] };
                // Two positions of one sample, where they were two samples.
                let v = values(&batch);
                let lying = if shape.len() == 3 { vec![v[0], v[2], v[1], v[3]] } else { v };
                norm.forward(&tensor(shape, &lying)).expect("a batch");
            }
            let what = format!("{} on {}", norm.class(), engine.name());
            assert_close(&norm.get("running_var").expect("there"), &[2.5, 225.25], &what);
        }
    }
}

/// As a timeout or an abort does it: the pass is under way, and nobody waits for it any more.
#[test]
fn a_pass_that_is_dropped_did_not_happen() {
    for engine in engines() {
        let mut norm = Layer::new(&engine, BatchNorm1d::new(2).momentum(Some(0.5))).expect("made");
        let before = norm.state_dict("").expect("state");
        let arrived = {
            let batch = &batches()[1];
            let mut pass = Box::pin(norm.forward_async(batch));
            pass.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
        };
        let mut expected = Layer::new(&engine, BatchNorm1d::new(2).momentum(Some(0.5))).expect("made");
        if arrived {
            expected.forward(&batches()[1]).expect("a batch");
        } else {
            assert_eq!(norm.state_dict("").expect("state"), before, "{}", engine.name());
        }
        for layer in [&mut norm, &mut expected] {
            layer.forward(&batches()[0]).expect("a batch");
        }
        assert_eq!(norm.state_dict(""), expected.state_dict(""), "what it does next: {}", engine.name());
        let x = ramp(&[3, 2]);
        let evaluated = [norm, expected].map(|mut layer| layer.eval().forward(&x).expect("evaluation"));
        assert_eq!(evaluated[0], evaluated[1], "where it evaluates: {}", engine.name());
    }
}

/// A momentum of 1 leaves nothing of the estimates before, however much larger they were, and a share of what is infinite is.
#[test]
fn estimates_keep_the_digits_of_a_batch() {
    for engine in engines() {
        let mut norm = Layer::new(&engine, BatchNorm1d::new(1).momentum(Some(1.0))).expect("made");
        norm.set("running_mean", tensor(&[1], &[1e8])).expect("it fits");
        norm.forward(&tensor(&[2, 1], &[1e-9, 3e-9])).expect("a batch");
        for (name, want) in [("running_mean", 2e-9), ("running_var", 2e-18)] {
            let got = values(&norm.get(name).expect("there"))[0];
            assert!((got / want - 1.0).abs() < 1e-6, "{name}: {got}, not {want}, on {}", engine.name());
        }
        norm = Layer::new(&engine, BatchNorm1d::new(1)).expect("made");
        norm.set("running_mean", tensor(&[1], &[f32::INFINITY])).expect("it fits");
        norm.forward(&batch()).expect("a batch");
        assert_eq!(values(&norm.get("running_mean").expect("there")), [f32::INFINITY], "{}", engine.name());
        let evaluated = norm.eval().forward(&batch()).expect("evaluation");
        assert_eq!(values(&evaluated), [f32::NEG_INFINITY; 2], "{}", engine.name());
    }
}

fn batch() -> Tensor {
    tensor(&[2, 1], &[1.0, 3.0])
}

#[test]
fn estimates_that_never_saw_a_batch_are_0_and_1() {
    for engine in engines() {
        let mut norm = Layer::new(&engine, InstanceNorm1d::new(2).track_running_stats(true).eps(3.0)).expect("made");
        let y = norm.eval().forward(&tensor(&[2, 1], &[4.0, -6.0])).expect("one position is enough");
        assert_close(&y, &[2.0, -3.0], engine.name());
    }
}

#[test]
fn without_estimates_evaluation_uses_the_input() {
    let x = ramp(&[3, 2, 4]);
    let both = |mut norm: Layer| {
        let trained = norm.forward(&x).expect("training");
        (trained, norm.eval().forward(&x).expect("evaluation"))
    };
    let (trained, evaluated) = both(layer(BatchNorm1d::new(2).track_running_stats(false)));
    assert_eq!(trained, evaluated);
    let (trained, evaluated) = both(layer(InstanceNorm1d::new(2)));
    assert_eq!(trained, evaluated);
    let (trained, evaluated) = both(layer(InstanceNorm1d::new(2).track_running_stats(true)));
    assert_ne!(trained, evaluated);

    let why = "evaluation without running estimates (track_running_stats is false)";
    let mut batch = layer(BatchNorm1d::new(2).track_running_stats(false));
    assert_says(batch.eval().forward(&ramp(&[1, 2])), &["[1, 2]", "more than one value per channel", why]);
    let mut instance = layer(InstanceNorm2d::new(2));
    assert_says(instance.eval().forward(&ramp(&[3, 2, 1, 1])), &["[3, 2, 1, 1]", "more than one value", why]);
    assert_says(instance.forward(&ramp(&[2, 1, 1])), &["[2, 1, 1]", why]);
    assert!(
        batch.forward(&ramp(&[0, 2])).is_ok() && instance.forward(&ramp(&[0, 2, 1, 1])).is_ok(),
        "nothing to average"
    );
}

#[test]
fn instance_norm_leaves_its_counter_alone_and_none_is_no_momentum() {
    let x = tensor(&[2, 1, 2], &[0.0, 2.0, 1.0, 5.0]);
    for (momentum, mean, var) in [(Some(0.5), 1.0, 3.0), (None, 0.0, 1.0)] {
        let mut norm = layer(InstanceNorm1d::new(1).track_running_stats(true).momentum(momentum));
        norm.forward(&x).expect("two samples");
        assert_close(&norm.get("running_mean").expect("there"), &[mean], "mean of 1 and 3");
        assert_close(&norm.get("running_var").expect("there"), &[var], "mean of 2 and 8");
        assert_eq!(norm.num_batches_tracked(), Ok(Some(0)));
    }
}

#[test]
fn one_sample_may_come_without_its_axis() {
    for engine in engines() {
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            let mut norm = Layer::new(&engine, InstanceNorm2d::new(2).affine(true).layout(layout)).expect("made");
            norm.set("bias", tensor(&[2], &[1.0, -1.0])).expect("it fits");
            let inner = if layout == Layout::ChannelsFirst { [2, 3, 4] } else { [3, 4, 2] };
            let x = ramp(&inner);
            let y = norm.forward(&x).expect("one sample");
            let batch = Tensor::new([&[1], &inner[..]].concat(), x.data().clone()).expect("the same values");
            assert_eq!(y.shape(), inner);
            assert_eq!(y.data(), norm.forward(&batch).expect("a batch of one").data(), "{layout:?} {}", engine.name());
        }
    }
}

#[test]
fn an_empty_batch_is_counted_and_moves_nothing() {
    for engine in engines() {
        let tracked = BatchNorm2d::new(3).momentum(None);
        let mut norm = Layer::new(&engine, tracked).expect("made");
        norm.forward(&ramp(&[2, 3, 2, 2])).expect("a batch");
        for shape in [[0, 3, 2, 2], [2, 3, 0, 2]] {
            let mut expected = norm.state_dict("").expect("state");
            count(&mut expected);
            let y = norm.forward(&ramp(&shape)).expect("nothing to do");
            assert_eq!(y, ramp(&shape), "{}", engine.name());
            assert_eq!(norm.state_dict("").expect("state"), expected, "{}", engine.name());
        }
        let mut nothing = Layer::new(&engine, BatchNorm2d::new(0)).expect("no features are few");
        assert_eq!(nothing.forward(&ramp(&[2, 0, 2, 2])), Ok(ramp(&[2, 0, 2, 2])), "{}", engine.name());
    }
}

#[test]
fn an_empty_batch_has_gradients_of_zero() {
    let (x, zeros) = (ramp(&[0, 3]), Some(tensor(&[3], &[0.0; 3])));
    for engine in engines() {
        let mut norm = Layer::new(&engine, BatchNorm1d::new(3)).expect("made");
        let forward = norm.forward_saving(&x).expect("nothing to do");
        let gradients = norm.backward(&x, &x, &forward, None).expect("nothing to do");
        assert_eq!(gradients.input.as_ref(), Some(&x), "{}", engine.name());
        assert_eq!((&gradients.weight, &gradients.bias), (&zeros, &zeros), "{}", engine.name());
    }
}

#[test]
fn a_frozen_layer_keeps_its_estimates_and_gives_no_gradients_of_parameters() {
    let x = ramp(&[4, 2]);
    for mut norm in [layer(BatchNorm1d::new(2)), layer(InstanceNorm1d::new(4).affine(true).track_running_stats(true))] {
        norm.forward(&x).expect("training");
        let before = norm.state_dict("").expect("state");
        let evaluated = norm.eval().forward(&x).expect("evaluation");
        let forward = norm.train().freeze(true).forward_saving(&x).expect("frozen");
        assert_eq!(forward.output, evaluated);
        assert_eq!(norm.state_dict("").expect("state"), before);
        let gradients = norm.backward(&x, &x, &forward, None).expect("of the input");
        assert_eq!((gradients.weight, gradients.bias), (None, None));
        assert!(gradients.input.is_some());
        let asked = Wanted { input: true, weight: true, bias: false, extra: false };
        assert_says(norm.backward(&x, &x, &forward, asked), &["grad_weight", "frozen"]);

        let thawed = norm.freeze(false).forward_saving(&x).expect("training again");
        assert_ne!(thawed.output, evaluated);
        assert!(norm.backward(&x, &x, &thawed, None).expect("all").weight.is_some());
    }
    let mut layer_norm = layer(LayerNorm::new([2]));
    let forward = layer_norm.freeze(true).forward_saving(&x).expect("frozen");
    assert!(layer_norm.backward(&x, &x, &forward, None).expect("of the input").bias.is_none());
}

#[test]
fn backward_follows_the_mode_of_its_forward_pass() {
    let (x, upstream) = (ramp(&[4, 2]), ramp(&[4, 2]));
    let mut norm = layer(BatchNorm1d::new(2).eps(0.0));
    let trained = norm.forward_saving(&x).expect("training");
    norm.reset_running_stats().expect("on the host");
    let evaluated = norm.eval().forward_saving(&x).expect("evaluation");
    let of = |norm: &Layer, forward| norm.backward(&x, &upstream, forward, None).expect("gradients").input;
    let in_evaluation = [of(&norm, &trained), of(&norm, &evaluated)];
    norm.train();
    assert_eq!([of(&norm, &trained), of(&norm, &evaluated)], in_evaluation);
    assert_eq!(in_evaluation[1].as_ref(), Some(&upstream), "by a mean of 0 and a variance of 1, which are constants");
    assert_ne!(in_evaluation[0], in_evaluation[1]);
}

#[test]
fn backward_refuses_parameters_that_are_not_those_of_its_forward_pass() {
    let x = ramp(&[4, 2]);
    let mut norm = layer(BatchNorm1d::new(2));
    let forward = norm.forward_saving(&x).expect("training");
    norm.forward(&x).expect("the estimates may move");
    assert!(norm.backward(&x, &x, &forward, None).is_ok());
    norm.set("weight", tensor(&[2], &[2.0, 2.0])).expect("it fits");
    assert_says(norm.backward(&x, &x, &forward, None), &["forward", "replaced"]);
    let forward = norm.forward_saving(&x).expect("training");
    let mut other = layer(BatchNorm1d::new(2));
    other.set("weight", tensor(&[2], &[2.0, 2.0])).expect("it fits");
    assert_says(other.backward(&x, &x, &forward, None), &["forward", "replaced"]);
    let same = norm.clone();
    assert!(same.backward(&x, &x, &forward, None).is_ok(), "a copy has the same parameters");
    assert_says(norm.backward(&x, &ramp(&[2, 4]), &forward, None), &["grad_output", "[2, 4]", "[4, 2]"]);
    assert_says(norm.backward(&ramp(&[2, 4]), &x, &forward, None), &["[2, 4]"]);
}

#[test]
fn backward_refuses_an_input_that_is_not_that_of_its_forward_pass() {
    let (x, longer) = (ramp(&[4, 2]), ramp(&[300, 2]));
    let half = Tensor::new([4, 2], Data::from_f64(Dtype::F16, &[1.0; 8])).expect("fits");
    for engine in engines() {
        let mut norm = Layer::new(&engine, BatchNorm1d::new(2)).expect("made");
        let forward = norm.forward_saving(&x).expect("four rows");
        let says = &["input: expected shape [4, 2], that of the forward pass", "[300, 2]"];
        assert_says(norm.backward(&longer, &longer, &forward, None), says);
        let deeper = ramp(&[4, 2, 1]);
        assert_says(norm.backward(&deeper, &deeper, &forward, None), &["input", "[4, 2]", "[4, 2, 1]"]);
        let says = &["input: expected f32, that of the forward pass, got f16"];
        assert_says(norm.backward(&half, &half, &forward, None), says);
    }
}

#[test]
fn a_residual_is_added_and_has_the_gradient_of_the_sum() {
    let (x, residual, upstream) = (ramp(&[2, 4]), tensor(&[2, 4], &[1.0; 8]), ramp(&[2, 4]));
    let sum = tensor(&[2, 4], &values(&x).iter().map(|x| x + 1.0).collect::<Vec<_>>());
    for engine in engines() {
        let mut norm = Layer::new(&engine, LayerNorm::new([4])).expect("made");
        let added = norm.forward_saving(Input::new(&x).residual(&residual)).expect("a sum");
        assert_eq!(added.sum.as_ref(), Some(&sum), "{}", engine.name());
        let plain = norm.forward(&sum).expect("the sum itself");
        assert_close(&added.output, &values(&plain), engine.name());
    }
    for engine in engines() {
        let mut norm = Layer::new(&engine, LayerNorm::new([4])).expect("made");
        let added = norm.forward_saving(Input::new(&x).residual(&residual)).expect("a sum");
        let plain = norm.forward_saving(&sum).expect("the sum itself");
        let of = |input, forward| norm.backward(input, &upstream, forward, None).expect("gradients");
        let (added, plain) = (of(&x, &added), of(&sum, &plain));
        for (got, want) in [(added.input, plain.input), (added.weight, plain.weight), (added.bias, plain.bias)] {
            assert_close(&got.expect("given"), &values(&want.expect("given")), engine.name());
        }
    }
}

#[test]
fn channels_lie_where_the_layout_says() {
    let first = ramp(&[2, 3, 4]);
    let transposed = |t: &Tensor| {
        let v = values(t);
        tensor(&[2, 4, 3], &(0..24).map(|i| v[i / 12 * 12 + i % 3 * 4 + i % 12 / 3]).collect::<Vec<_>>())
    };
    let pairs: [[Layer; 2]; 3] = [
        [Layout::ChannelsFirst, Layout::ChannelsLast].map(|layout| layer(BatchNorm1d::new(3).layout(layout))),
        [Layout::ChannelsFirst, Layout::ChannelsLast].map(|layout| layer(InstanceNorm1d::new(3).layout(layout))),
        [Layout::ChannelsFirst, Layout::ChannelsLast].map(|layout| layer(GroupNorm::new(3, 3).layout(layout))),
    ];
    for [mut a, mut b] in pairs {
        let (y, z) = (a.forward(&first).expect("first"), b.forward(&transposed(&first)).expect("last"));
        assert_close(&z, &values(&transposed(&y)), a.class());
    }
}

#[test]
fn what_is_fused_is_done() {
    for engine in engines() {
        let x = tensor(&[1, 2], &[-1.0, 1.0]);
        let plain = LayerNorm::new([2]).eps(0.0);
        let relu =
            Layer::new(&engine, plain.clone().activation(Activation::Relu)).expect("made").forward(&x).expect("y");
        assert_close(&relu, &[0.0, 1.0], engine.name());
        let mut gemma = Layer::new(&engine, plain.zero_centred_weight(true)).expect("made");
        assert_close(&gemma.forward(&x).expect("y"), &[-1.0, 1.0], engine.name());
        gemma.set("weight", tensor(&[2], &[1.0, 2.0])).expect("it fits");
        assert_close(&gemma.forward(&x).expect("y"), &[-2.0, 3.0], engine.name());
    }
}

/// A value that 16 bits do not hold is rounded before it meets the weight, as by the operation itself.
#[test]
fn normalized_values_are_rounded_where_that_is_asked_for() {
    let x = Tensor::new([2, 3], Data::from_f64(Dtype::F16, &[1.0, 2.0, 3.0, -5.0, 0.25, 7.0])).expect("six values");
    let weight = Tensor::new([3], Data::from_f64(Dtype::F16, &[1.7, 0.3, 1.9])).expect("three");
    let by_layer = |engine: &Engine, rounds: bool| {
        let description = RmsNorm::new([3]).eps(1e-5).dtype(Dtype::F16).rounds_normalized(rounds);
        let mut norm = Layer::new(engine, description).expect("made");
        norm.set("weight", weight.clone()).expect("it fits");
        norm.forward(&x).expect("y")
    };
    for engine in engines() {
        let epilogue = Epilogue { rounds_normalized: true, ..Epilogue::default() };
        let fused = Fused { epilogue, ..Fused::new(norm::RmsNorm::new([3]).eps(1e-5)) };
        let mut parameters = Parameters { weight: Some(&weight), ..Parameters::default() };
        let want = engine.forward(&fused, &x, &mut parameters).expect("y");
        assert_eq!(by_layer(&engine, true), want, "{}", engine.name());
        assert_ne!(by_layer(&engine, false), want, "{}", engine.name());
    }
}

#[test]
fn folding_is_what_evaluation_computes() {
    let x = ramp(&[5, 2, 3]);
    let norms = [
        layer(BatchNorm1d::new(2)),
        layer(BatchNorm1d::new(2).affine(false)),
        layer(BatchNorm1d::new(2).zero_centred_weight(true)),
        layer(BatchNorm1d::new(2).weight(false)),
        layer(BatchNorm1d::new(2).affine(false).zero_centred_weight(true)),
        layer(InstanceNorm1d::new(2).affine(true).track_running_stats(true).eps(0.5)),
    ];
    for mut norm in norms {
        for (name, values) in [("weight", [1.5, -0.5]), ("bias", [0.25, 3.0])] {
            if norm.names().any(|own| own == name) {
                norm.set(name, tensor(&[2], &values)).expect("it fits");
            }
        }
        norm.forward(&x).expect("training");
        let y = norm.eval().forward(&x).expect("evaluation");
        let folded = norm.fold().expect("there are estimates");
        let (scale, shift) = (values(&folded.scale), values(&folded.shift));
        let by_hand: Vec<f32> =
            values(&x).iter().enumerate().map(|(i, x)| x * scale[i / 3 % 2] + shift[i / 3 % 2]).collect();
        assert_close(&y, &by_hand, norm.class());
    }
    for norm in [layer(LayerNorm::new([2])), layer(InstanceNorm1d::new(2)), layer(GroupNorm::new(1, 2))] {
        assert_says(norm.fold(), &["running_mean", "depend on the input"]);
    }
}

#[test]
fn a_layer_moves_with_its_state() {
    let mut norm = layer(BatchNorm1d::new(2));
    norm.forward(&batches()[1]).expect("a batch");
    let (state, x) = (norm.state_dict(""), ramp(&[3, 2]));
    let want = norm.eval().forward(&x).expect("evaluation");
    for engine in engines() {
        let y = norm.to(&engine).expect("moved").forward(&x).expect("evaluation");
        assert_close(&y, &values(&want), engine.name());
        assert_eq!((norm.engine().name(), norm.state_dict("")), (engine.name(), state.clone()));
    }
}
