//! Layers that PyTorch has not: each computes what the engine does with the same parameters, and remembers, moves,
//! saves and refuses as the others do.

use crate::members::{LABELS, Own, family, moved, upstream, x};
use crate::rig::{assert_close, assert_says, count, engines, layer, ramp, reference, tensor, values};
use wgpu_norm::layer::{
    BatchGroupNorm, ConditionalBatchNorm, Description, FilterResponseNorm, Input, Layer, LayerNorm, PositionalNorm,
    SandwichBatchNorm, SwitchableNorm,
};
use wgpu_norm::norm;
use wgpu_norm::plan::Activation;
use wgpu_norm::{Dtype, Error, Gradients, Layout, Parameters, Tensor, Upstream, Wanted};

#[test]
fn everyone_begins_as_described() {
    for member in family() {
        let norm = member.on_reference();
        assert_eq!(norm.names().collect::<Vec<_>>(), member.names, "{}", norm.class());
        for name in norm.names().filter(|name| *name != "num_batches_tracked") {
            let (what, stored) = (format!("{}.{name}", norm.class()), norm.get(name).expect("there"));
            let is_table = name.starts_with("class_") || norm.class() == "ConditionalBatchNorm";
            let (shape, initial): (&[usize], _) = match name {
                "running_mean" | "running_var" if norm.class() == "BatchGroupNorm" => (&[2], 0.0),
                "running_mean" | "running_var" => (&[3], 0.0),
                "mean_weight" | "var_weight" => (&[3], 1.0),
                "eps_l" => (&[1], 1e-4),
                "weight" | "class_weight" if is_table => (&[3, 3], 1.0),
                "bias" | "class_bias" if is_table => (&[3, 3], 0.0),
                "weight" => (&[3], 1.0),
                _ => (&[3], 0.0),
            };
            let initial = if name == "running_var" { 1.0 } else { initial };
            assert_eq!(stored, tensor(shape, &vec![initial; shape.iter().product()]), "{what}");
        }
        let untouched = norm.state_dict("").expect("state");
        let mut other = moved(norm);
        assert!(member.names.is_empty() || other.state_dict("").expect("state") != untouched);
        other.reset_parameters().expect("on the host");
        assert_eq!(other.state_dict("").expect("state"), untouched, "{}", other.class());
    }
    let half = layer(SandwichBatchNorm::new(2, 2).dtype(Dtype::F16));
    assert_eq!(half.get("class_bias").expect("there").dtype(), Dtype::F16);
    assert_eq!(half.get("running_var").expect("there").dtype(), Dtype::F32);
}

#[test]
fn passes_are_those_of_the_engine_with_the_same_parameters() {
    let (x, upstream) = (x(), upstream());
    for (engine, member) in engines().iter().flat_map(|engine| family().into_iter().map(move |m| (engine, m))) {
        for (training, frozen) in [(true, false), (false, false), (true, true)] {
            let mut norm = moved(member.on(engine));
            let what = format!("{} on {}, training {training}, frozen {frozen}", norm.class(), engine.name());
            if !training {
                norm.eval();
            }
            norm.freeze(frozen);
            let direct = (member.norm)(training && !frozen);
            let mut own = Own::of(&norm);
            let mut parameters = own.parameters(member.labels());
            let wanted = engine.forward_saving(&*direct, &x, &mut parameters).expect(&what);
            let only_input = Wanted { input: true, weight: false, bias: false, extra: false };
            let which = frozen.then_some(only_input);
            let gradients = engine.backward(&*direct, &x, &upstream, &wanted.statistics, &parameters, which);

            let forward = norm.forward_saving(member.input(&x)).expect(&what);
            assert_eq!(forward.output, wanted.output, "{what}");
            assert_eq!(forward.statistics(), &wanted.statistics, "{what}");
            let got = norm.backward(&x, &upstream, &forward, None).expect(&what);
            assert_eq!(Ok(got), gradients, "{what}");
            assert_eq!(Own::of(&norm).running, own.running, "{what}");
            let again = moved(member.on(engine)).freeze(frozen).forward(member.input(&x));
            if training {
                assert_eq!(again.expect(&what), forward.output, "{what}");
            }
        }
    }
}

#[test]
fn gradients_are_given_for_what_there_is_unless_it_is_frozen() {
    let (x, upstream) = (x(), upstream());
    for member in family() {
        let mut norm = moved(member.on_reference());
        let forward = norm.forward_saving(member.input(&x)).expect("training");
        let Gradients { weight, bias, extra, input } = norm.backward(&x, &upstream, &forward, None).expect("gradients");
        assert!(input.is_some(), "{}", norm.class());
        let all = [("weight", weight), ("bias", bias)].into_iter().chain(extra.named());
        for (name, gradient) in all {
            let shape = norm.get(name).ok().map(|tensor| tensor.shape().to_vec());
            assert_eq!(gradient.map(|tensor| tensor.shape().to_vec()), shape, "{}.{name}", norm.class());
        }
        norm.freeze(true);
        let asked = Wanted { input: true, weight: false, bias: false, extra: true };
        assert_says(norm.backward(&x, &upstream, &forward, asked), &["extra", "frozen"]);
    }
}

#[test]
fn estimates_follow_in_training_alone() {
    for (engine, member) in engines().iter().flat_map(|engine| family().into_iter().map(move |m| (engine, m))) {
        let mut norm = member.on(engine);
        let before = norm.state_dict("").expect("state");
        norm.eval().forward(member.input(&x())).expect("evaluation");
        assert_eq!(norm.state_dict("").expect("state"), before, "{} in evaluation", norm.class());
        norm.train().freeze(true).forward(member.input(&x())).expect("frozen");
        assert_eq!(norm.state_dict("").expect("state"), before, "{} frozen", norm.class());
        norm.freeze(false).forward(member.input(&x())).expect("training");
        let tracks = member.names.contains(&"running_mean");
        assert_eq!(norm.state_dict("").expect("state") != before, tracks, "{} in training", norm.class());
        let counts = member.names.contains(&"num_batches_tracked");
        assert_eq!(norm.num_batches_tracked().expect("state"), counts.then_some(1), "{}", norm.class());
        if !tracks {
            let trained = norm.forward(member.input(&x())).expect("training");
            assert_eq!(norm.eval().forward(member.input(&x())), Ok(trained), "{}: the input's own", norm.class());
        }
    }
    let mut switchable = layer(SwitchableNorm::new(2));
    assert_says(switchable.set_num_batches_tracked(1), &["num_batches_tracked", "counts no batches"]);
    switchable.reset_running_stats().expect("on the host");
    assert_eq!(switchable.num_batches_tracked(), Ok(None));
}

#[test]
fn state_goes_to_memory_and_back_and_from_engine_to_engine() {
    for (engine, member) in engines().iter().flat_map(|engine| family().into_iter().map(move |m| (engine, m))) {
        let mut old = moved(member.on(engine));
        old.forward(member.input(&x())).expect("training");
        let dict = old.state_dict("a.").expect("state");
        let keys: Vec<String> = member.names.iter().map(|name| format!("a.{name}")).collect();
        assert!(keys.iter().all(|key| dict.contains_key(key)) && dict.len() == keys.len(), "{keys:?}");
        let mut new = member.on(engine);
        new.load_state_dict(&dict, "a.", true).expect("all there");
        assert_eq!(new.state_dict("a."), Ok(dict.clone()));
        assert_eq!(new.eval().forward(member.input(&x())), old.eval().forward(member.input(&x())), "{}", old.class());

        let copy = old.clone();
        old.train().forward(member.input(&ramp(&[4, 3, 1, 2]))).expect("training");
        assert_eq!(copy.state_dict("a."), Ok(dict.clone()), "a clone has a state of its own");

        let mut elsewhere = new;
        elsewhere.to(&reference()).expect("moved");
        assert_eq!(elsewhere.state_dict("a."), Ok(dict.clone()), "{} from {}", old.class(), engine.name());
        elsewhere.to(engine).expect("moved");
        assert_eq!(elsewhere.state_dict("a."), Ok(dict), "{} to {}", old.class(), engine.name());
        let (there, here) = (elsewhere.forward(member.input(&x())), copy.clone().eval().forward(member.input(&x())));
        assert_eq!(there, here, "{}", old.class());
    }
}

#[cfg(feature = "checkpoint")]
#[test]
fn checkpoints_carry_everything() {
    use wgpu_norm::checkpoint::{self, Checkpoint};
    use wgpu_norm::layer::StateDict;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("family.safetensors");
    let layers: Vec<Layer> = family().iter().map(|member| moved(member.on_reference())).collect();
    let mut model = StateDict::new();
    for (i, norm) in layers.iter().enumerate() {
        model.extend(norm.state_dict(&format!("{i}.")).expect("state"));
    }
    checkpoint::save(&path, &model).expect("written");
    let file = Checkpoint::open(&path).expect("opens");
    for (i, (member, old)) in family().iter().zip(&layers).enumerate() {
        let mut new = member.on_reference();
        file.load(&mut new, &format!("{i}."), true).expect("all there");
        assert_eq!(new.state_dict(""), old.state_dict(""), "{}", old.class());
    }
    let mut other = layer(FilterResponseNorm::new(3).threshold(false));
    assert_says(file.load(&mut other, "7.", true), &["Unexpected key(s)", "\"7.eps_l\", \"7.tau\""]);
    let mut wide = layer(SandwichBatchNorm::new(3, 5));
    assert_says(file.load(&mut wide, "3.", true), &["size mismatch for 3.class_weight", "[3, 3]", "[5, 3]"]);
}

#[test]
fn labels_have_to_fit() {
    let x = x();
    for (engine, member) in engines().iter().flat_map(|engine| family().into_iter().map(move |m| (engine, m))) {
        let mut norm = moved(member.on(engine));
        let before = norm.state_dict("");
        if member.labels().is_none() {
            assert_says(norm.forward(Input::new(&x).labels(&LABELS)), &["labels", "no tables of classes"]);
        } else {
            assert_says(norm.forward(&x), &["labels", "class of each sample"]);
            assert_says(norm.forward(Input::new(&x).labels(&LABELS[1..])), &["labels", "[4]", "[3]"]);
            for label in [3, -1, i64::MAX] {
                let wrong = [0, label, 1, 1];
                let parts = ["labels", "classes from 0 to 2", &format!("{label} for sample 1")];
                assert_says(norm.forward(Input::new(&x).labels(&wrong)), &parts);
                assert_says(norm.forward_saving(Input::new(&x).labels(&wrong)), &parts);
            }
        }
        assert_eq!(norm.state_dict(""), before, "a refusal leaves the state alone");
    }
    assert_says(layer(LayerNorm::new([2])).forward(Input::new(&x).labels(&LABELS)), &["labels"]);
}

#[test]
fn shapes_have_to_fit() {
    let rows: [(Layer, &[usize], &[&str]); 12] = [
        (layer(SwitchableNorm::new(3)), &[2, 3], &["at least 3D input (got 2D input)"]),
        (layer(SwitchableNorm::new(3)), &[2, 4, 5], &["dim=1", "num_features (3)"]),
        (layer(SwitchableNorm::new(3)), &[2, 3, 1], &["[2, 3, 1]", "two positions"]),
        (layer(SwitchableNorm::new(3).layout(Layout::ChannelsLast)), &[2, 3, 4], &["dim=2", "num_features (3)"]),
        (layer(PositionalNorm::new()), &[2, 3], &["at least 3D input (got 2D input)"]),
        (layer(PositionalNorm::new()), &[2, 1, 3], &["[2, 1, 3]", "two channels"]),
        (layer(BatchGroupNorm::new(2, 3)), &[3], &["at least 2D input (got 1D input)"]),
        (layer(BatchGroupNorm::new(2, 3)), &[2, 4, 5], &["dim=1", "num_channels (3)"]),
        (layer(BatchGroupNorm::new(2, 3)), &[2, 3, 5], &["num_groups", "2", "a divisor of 15"]),
        (layer(ConditionalBatchNorm::new(3, 2)), &[2, 4], &["dim=1", "num_features (3)"]),
        (layer(SandwichBatchNorm::new(3, 2)), &[2], &["at least 2D input (got 1D input)"]),
        (layer(FilterResponseNorm::new(3)), &[2, 4], &["dim=1", "num_features (3)"]),
    ];
    for (mut norm, shape, parts) in rows {
        assert_says(norm.forward(&ramp(shape)), parts);
    }
    let mut sandwich = layer(SandwichBatchNorm::new(3, 2));
    assert_says(sandwich.set("class_bias", tensor(&[3], &[0.0; 3])), &["class_bias", "[2, 3]", "[3]"]);
    let half = Tensor::zeros([2, 3], Dtype::F16).expect("small");
    assert_says(sandwich.set("class_weight", half), &["class_weight", "f32", "f16"]);
    let there = "weight, bias, class_weight, class_bias, running_mean, running_var]";
    assert_says(sandwich.get("tau"), &["\"tau\"", "SandwichBatchNorm", there]);
    let mut alone = layer(ConditionalBatchNorm::new(3, 2).track_running_stats(false));
    let one = ramp(&[1, 3]);
    assert_says(
        alone.eval().forward(Input::new(&one).labels(&[0])),
        &["[1, 3]", "more than one value per channel", "track_running_stats is false"],
    );
}

/// A bias that is not there adds nothing to an infinite factor, nor to an infinite gradient.
#[test]
fn an_absent_bias_meets_nothing() {
    let (x, infinite) = (tensor(&[2, 1], &[1.0, 3.0]), tensor(&[2, 1], &[f32::INFINITY, 1.0]));
    for engine in engines() {
        let mut norm = Layer::new(&engine, ConditionalBatchNorm::new(1, 2).eps(0.0).bias(false)).expect("made");
        norm.set("weight", infinite.clone()).expect("fits");
        let labels = [1, 0];
        let forward = norm.forward_saving(Input::from(&x).labels(&labels)).expect("two samples");
        assert_eq!(values(&forward.output), [-1.0, f32::INFINITY], "{}", engine.name());
        let gradients = norm.backward(&x, &infinite, &forward, None).expect("gradients");
        let of_weight = values(&gradients.weight.expect("there is one"));
        assert_eq!(of_weight, [1.0, f32::NEG_INFINITY], "{}", engine.name());
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    fn of(description: impl TryInto<Description, Error = Error>) -> wgpu_norm::Result<Layer> {
        Layer::new(&reference(), description)
    }
    assert_says(of(SwitchableNorm::new(3).momentum(f64::NAN)), &["momentum", "NaN"]);
    assert_says(of(SwitchableNorm::new(3).eps(f64::NAN)), &["eps", "NaN"]);
    assert_says(of(PositionalNorm::new().eps(f64::NAN)), &["eps", "NaN"]);
    assert_says(of(FilterResponseNorm::new(3).eps(f64::NAN)), &["eps", "NaN"]);
    assert_says(of(FilterResponseNorm::new(3).learnable_eps(f32::NAN)), &["learnable_eps", "NaN"]);
    assert_says(of(BatchGroupNorm::new(0, 3)), &["num_groups", "0", "at least 1"]);
    assert_says(of(BatchGroupNorm::new(2, 3).layout(Layout::ChannelsLast)), &["num_groups", "2", "divisor of 3"]);
    assert_says(of(BatchGroupNorm::new(usize::MAX, 3)), &["num_groups"]);
    assert_says(of(ConditionalBatchNorm::new(3, 0)), &["num_classes", "0", "at least 1"]);
    assert_says(of(ConditionalBatchNorm::new(3, usize::MAX)), &["num_classes"]);
    assert_says(of(ConditionalBatchNorm::new(3, 2).weight(false).bias(false)), &["weight", "tables"]);
    assert_says(of(SandwichBatchNorm::new(3, 0)), &["num_classes", "0", "at least 1"]);
    assert_says(of(SandwichBatchNorm::new(3, usize::MAX)), &["num_classes"]);
    let neither = SandwichBatchNorm::new(3, 2).class_weight(false).class_bias(false);
    assert_says(of(neither), &["class_weight", "tables"]);
    let kept = SwitchableNorm::new(3).momentum_kept(0.75);
    assert_eq!(Description::try_from(kept), SwitchableNorm::new(3).momentum(0.25).try_into());
}

#[test]
fn moments_are_those_of_positions_and_gradients_flow_through_them() {
    let (x, upstream) = (x(), upstream());
    for engine in engines() {
        let mut norm = Layer::new(&engine, PositionalNorm::new()).expect("made");
        let forward = norm.forward_saving(&x).expect("forward");
        let (mean, std) = norm.moments(&forward).expect("it has some");
        let direct = norm::PositionalNorm::new();
        assert_eq!(Ok((mean.clone(), std.clone())), direct.moments(&x, forward.statistics()), "{}", engine.name());
        let sum = |n: usize, p: usize| (0..3).map(|c| values(&x)[n * 12 + c * 4 + p]).sum::<f32>();
        let by_hand: Vec<f32> = (0..16).map(|i| sum(i / 4, i % 4) / 3.0).collect();
        assert_close(&mean, &by_hand, engine.name());

        let all = Upstream { output: &upstream, sum: None, mean: Some(&std), std: Some(&mean) };
        let none = Parameters::default();
        let want = engine.backward(&direct, &x, all, forward.statistics(), &none, None).expect("gradients");
        assert_eq!(norm.backward(&x, all, &forward, None), Ok(want), "{}", engine.name());
        let short = ramp(&[1, 1, 2, 2]);
        let wrong = Upstream { mean: Some(&short), ..all };
        assert_says(norm.backward(&x, wrong, &forward, None), &["grad_mean", "16", "4"]);

        let mut other = Layer::new(&engine, FilterResponseNorm::new(3)).expect("made");
        let forward = other.forward_saving(&x).expect("forward");
        assert_says(other.moments(&forward), &["layer", "FilterResponseNorm", "PositionalNorm"]);
        let inflow = Upstream { std: None, ..all };
        assert_says(other.backward(&x, inflow, &forward, None), &["grad_mean"]);
    }
}

#[test]
fn a_replaced_parameter_makes_a_forward_pass_old() {
    let x = x();
    let mut norm = layer(SwitchableNorm::new(3));
    let forward = norm.forward_saving(&x).expect("training");
    norm.set("mean_weight", tensor(&[3], &[0.0, 1.0, 2.0])).expect("it fits");
    assert_says(norm.backward(&x, &x, &forward, None), &["forward", "replaced"]);
}

#[test]
fn folding_says_why_it_cannot() {
    let rows: [(Layer, &str); 6] = [
        (layer(ConditionalBatchNorm::new(3, 2)), "labels"),
        (layer(SandwichBatchNorm::new(3, 2)), "labels"),
        (layer(BatchGroupNorm::new(3, 3)), "groups, not of channels"),
        (layer(SwitchableNorm::new(3)), "in evaluation too"),
        (layer(FilterResponseNorm::new(3)), "depend on the input"),
        (layer(PositionalNorm::new()), "depend on the input"),
    ];
    for (norm, why) in rows {
        assert_says(norm.fold(), &["running_mean", why]);
    }
}

#[test]
fn an_empty_batch_is_counted_and_moves_nothing() {
    let none = ramp(&[0, 3, 2, 2]);
    for (engine, member) in engines().iter().flat_map(|engine| family().into_iter().map(move |m| (engine, m))) {
        let mut norm = moved(member.on(engine));
        let (mut expected, what) =
            (norm.state_dict("").expect("state"), format!("{} on {}", norm.class(), engine.name()));
        count(&mut expected);
        let input = if member.labels().is_some() { Input::new(&none).labels(&[]) } else { Input::new(&none) };
        let forward = norm.forward_saving(input).expect(&what);
        assert_eq!((&forward.output, norm.state_dict("")), (&none, Ok(expected)), "{what}");
        let gradients = norm.backward(&none, &none, &forward, None).expect(&what);
        let parameters = [gradients.weight, gradients.bias].into_iter().chain(gradients.extra.into_array());
        assert!(parameters.flatten().all(|gradient| values(&gradient).iter().all(|v| *v == 0.0)), "{what}");
    }
}

#[test]
fn a_residual_is_added_before_and_labels_stay() {
    let (x, residual, upstream) = (x(), upstream(), x());
    let sum = tensor(x.shape(), &values(&x).iter().zip(values(&residual)).map(|(x, r)| x + r).collect::<Vec<_>>());
    for (engine, member) in engines().iter().flat_map(|engine| family().into_iter().map(move |m| (engine, m))) {
        let mut norm = moved(member.on(engine)).clone();
        let what = format!("{} on {}", norm.class(), engine.name());
        let plain = norm.clone().forward_saving(member.input(&sum)).expect(&what);
        let added = norm.forward_saving(member.input(&x).residual(&residual)).expect(&what);
        assert_eq!(added.sum.as_ref(), Some(&sum), "{what}");
        assert_close(&added.output, &values(&plain.output), &what);
        let of = |input, forward| norm.backward(input, &upstream, forward, None).expect(&what);
        let (got, want) = (of(&x, &added), of(&sum, &plain));
        assert_close(&got.input.expect("given"), &values(&want.input.expect("given")), &what);
    }
}

#[test]
fn channels_lie_where_the_layout_says() {
    let first = ramp(&[4, 2, 5]);
    let transposed = |t: &Tensor| {
        let v = values(t);
        tensor(&[4, 5, 2], &(0..40).map(|i| v[i / 10 * 10 + i % 2 * 5 + i % 10 / 2]).collect::<Vec<_>>())
    };
    let last = Layout::ChannelsLast;
    let pairs: [[Layer; 2]; 6] = [
        [layer(BatchGroupNorm::new(2, 2)), layer(BatchGroupNorm::new(2, 2).layout(last))],
        [layer(ConditionalBatchNorm::new(2, 3)), layer(ConditionalBatchNorm::new(2, 3).layout(last))],
        [layer(SandwichBatchNorm::new(2, 3)), layer(SandwichBatchNorm::new(2, 3).layout(last))],
        [layer(SwitchableNorm::new(2)), layer(SwitchableNorm::new(2).layout(last))],
        [layer(FilterResponseNorm::new(2)), layer(FilterResponseNorm::new(2).layout(last))],
        [layer(PositionalNorm::new()), layer(PositionalNorm::new().layout(last))],
    ];
    for [a, b] in pairs {
        let (mut a, mut b) = (moved(a), moved(b));
        let there = transposed(&first);
        let labelled = a.names().any(|name| name == "class_weight") || a.class() == "ConditionalBatchNorm";
        let with = |x| if labelled { Input::new(x).labels(&LABELS) } else { Input::new(x) };
        let (y, z) = (a.forward_saving(with(&first)).expect("first"), b.forward_saving(with(&there)).expect("last"));
        assert_close(&z.output, &values(&transposed(&y.output)), a.class());
        if let (Ok((mean, _)), Ok((same, _))) = (a.moments(&y), b.moments(&z)) {
            assert_eq!((mean.shape(), same.shape()), (&[4, 1, 5][..], &[4, 5, 1][..]));
            assert_close(&same, &values(&mean), a.class());
        }
    }
}

#[test]
fn what_is_fused_is_done() {
    let x = x();
    let relu = Activation::Relu;
    let clipped = |tensor: &Tensor| values(tensor).iter().map(|y| y.max(0.0)).collect::<Vec<_>>();
    for engine in engines() {
        let plain = Layer::new(&engine, SandwichBatchNorm::new(3, 3)).expect("made");
        let fused = Layer::new(&engine, SandwichBatchNorm::new(3, 3).activation(relu)).expect("made");
        let of = |norm: Layer| moved(norm).forward(Input::new(&x).labels(&LABELS)).expect("forward");
        assert_close(&of(fused), &clipped(&of(plain)), engine.name());

        let zero_centred = ConditionalBatchNorm::new(3, 3).zero_centred_weight(true);
        let mut gemma = Layer::new(&engine, zero_centred).expect("made");
        assert_eq!(values(&gemma.get("weight").expect("there")), [0.0; 9], "which stands for 1");
        let mut usual = Layer::new(&engine, ConditionalBatchNorm::new(3, 3)).expect("made");
        let labelled = Input::new(&x).labels(&LABELS);
        let want = usual.forward(labelled).expect("forward");
        assert_close(&gemma.forward(labelled).expect("forward"), &values(&want), engine.name());
    }
}
