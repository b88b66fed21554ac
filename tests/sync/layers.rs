//! Layers that share their statistics: conversion, state, modes.

use crate::rig::{assert_says, cpu, engines, noise, on_ranks, ranges, rows};
use wgpu_norm::collective::Group;
use wgpu_norm::layer::{
    BatchNorm1d, BatchNorm2d, InstanceNorm1d, Layer, LayerNorm, SyncBatchNorm, convert_sync_batch_norm,
    revert_sync_batch_norm,
};
use wgpu_norm::{Dtype, Engine, Tensor};

const SHARDS: [usize; 3] = [5, 0, 3];

fn layer(engine: &Engine) -> Layer {
    let mut norm = Layer::new(engine, BatchNorm1d::new(3).momentum(Some(0.3))).expect("its options make sense");
    norm.set("weight", Tensor::from_f32([3], vec![1.5, -0.5, 2.0]).expect("three")).expect("it fits");
    norm
}

fn values(norm: &Layer) -> Vec<Vec<f32>> {
    ["weight", "bias", "running_mean", "running_var"]
        .map(|name| norm.get(name).expect("it has it").data().to_f32())
        .to_vec()
}

#[test]
fn converted_layers_keep_everything_and_share_their_statistics() {
    let x = noise(&[8, 3, 4], Dtype::F32, 2.0, 1);
    for engine in engines() {
        let mut whole = layer(&engine);
        let steps = on_ranks(SHARDS.len(), |group| {
            let own = rows(&x, ranges(&SHARDS)[group.rank()].clone());
            let mut norm = layer(&engine);
            norm.set_num_batches_tracked(7).expect("it counts");
            let before = values(&norm);
            assert_eq!(convert_sync_batch_norm([&mut norm], &group), 1);
            assert_eq!((norm.class(), values(&norm)), ("SyncBatchNorm", before));
            assert!(norm.is_training());
            let forward = norm.forward_saving(&own).expect("a shard");
            let gradients = norm.backward(&own, &own, &forward, None).expect("its own");
            assert_eq!(norm.num_batches_tracked(), Ok(Some(8)));
            assert_eq!(revert_sync_batch_norm([&mut norm]), 1);
            assert_eq!(norm.class(), "BatchNorm1d");
            (forward.output, gradients.input.expect("wanted"), values(&norm))
        });
        let forward = whole.forward_saving(&x).expect("a batch");
        let gradients = whole.backward(&x, &x, &forward, None).expect("its own");
        let close = |got: Vec<f32>, want: &[f32], what: &str| {
            assert_eq!(got.len(), want.len(), "{what} on {}", engine.name());
            let is_close = |(got, want): (&f32, &f32)| (got - want).abs() <= 4e-6 * (1.0 + want.abs());
            let off = got.iter().zip(want).find(|(got, want)| !is_close((got, want)));
            assert!(off.is_none(), "{what} on {}: {off:?}", engine.name());
        };
        let joined = |parts: Vec<&Tensor>| parts.iter().flat_map(|part| part.data().to_f32()).collect::<Vec<_>>();
        close(joined(steps.iter().map(|step| &step.0).collect()), &forward.output.data().to_f32(), "output");
        close(
            joined(steps.iter().map(|step| &step.1).collect()),
            &gradients.input.expect("wanted").data().to_f32(),
            "grad_input",
        );
        for step in &steps {
            assert_eq!(step.2, steps[0].2, "the ranks agree to the bit on {}", engine.name());
            close(step.2.concat(), &values(&whole).concat(), "state");
        }
    }
}

/// Gradients go the way that the forward pass went: by all ranks' statistics, or by one's own.
#[test]
fn a_forward_pass_from_before_a_conversion_has_no_backward_pass() {
    let group = &wgpu_norm::collective::local(1)[0];
    let x = noise(&[4, 3], Dtype::F32, 0.0, 1);
    let convert: fn(&mut Layer, &Group) -> usize = |norm, group| convert_sync_batch_norm([norm], group);
    let revert: fn(&mut Layer, &Group) -> usize = |norm, _| revert_sync_batch_norm([norm]);
    for engine in engines() {
        let mut norm = layer(&engine);
        for change in [convert, revert] {
            let forward = norm.forward_saving(&x).expect("a batch");
            assert_eq!(change(&mut norm, group), 1);
            assert_says(
                &norm.backward(&x, &x, &forward, None).expect_err("it was converted"),
                &["forward", "converted"],
            );
        }
    }
}

/// The rank that reverts its layer has an error of its own, and the others hear of it.
#[test]
fn a_rank_that_reverts_between_the_passes_tells_the_others() {
    let errors = on_ranks(2, |group| {
        let mut norm = Layer::new(&cpu(), SyncBatchNorm::new(3).group(&group)).expect("made");
        let x = noise(&[4, 3], Dtype::F32, 0.0, 1);
        let forward = norm.forward_saving(&x).expect("a batch");
        if group.rank() == 1 {
            revert_sync_batch_norm([&mut norm]);
        }
        let error = norm.backward(&x, &x, &forward, None).expect_err("rank 1 has another layer");
        (error, group.barrier())
    });
    for (rank, (error, after)) in errors.into_iter().enumerate() {
        assert_says(&error, if rank == 0 { &["rank 1 gave up", "converted"] } else { &["forward", "converted"] });
        assert_eq!(after, Ok(()), "the group goes on");
    }
}

#[test]
fn what_does_not_load_into_a_converted_layer_names_its_class() {
    let group = &wgpu_norm::collective::local(1)[0];
    let mut norm = layer(&cpu());
    convert_sync_batch_norm([&mut norm], group);
    let error = norm.load_state_dict(&wgpu_norm::layer::StateDict::new(), "", true).expect_err("nothing is there");
    assert_says(&error, &["loading state_dict for SyncBatchNorm"]);
}

/// One rank tries twice, the other once: both have the first layer of the group.
#[test]
fn a_layer_that_did_not_come_about_is_not_counted() {
    let results = on_ranks(2, |group| {
        if group.rank() == 0 {
            let far_too_large = SyncBatchNorm::new(1 << 60).group(&group);
            assert!(Layer::new(&cpu(), far_too_large).is_err(), "nobody has memory for that");
        }
        let mut norm = Layer::new(&cpu(), SyncBatchNorm::new(3).group(&group)).expect("made");
        norm.forward(&noise(&[4, 3], Dtype::F32, 0.0, 1)).map(drop)
    });
    assert_eq!(results, [Ok(()), Ok(())]);
}

#[test]
fn conversion_takes_batch_norm_alone() {
    let engine = cpu();
    let make = |description: fn(&Engine) -> wgpu_norm::Result<Layer>| description(&engine).expect("made");
    let mut network = [
        make(|engine| Layer::new(engine, BatchNorm1d::new(4))),
        make(|engine| Layer::new(engine, LayerNorm::new([4]))),
        make(|engine| Layer::new(engine, InstanceNorm1d::new(4))),
        make(|engine| Layer::new(engine, BatchNorm2d::new(4))),
    ];
    let group = &wgpu_norm::collective::local(1)[0];
    network[3].eval();
    assert_eq!(convert_sync_batch_norm(&mut network, group), 2);
    let classes: Vec<&str> = network.iter().map(Layer::class).collect();
    assert_eq!(classes, ["SyncBatchNorm", "LayerNorm", "InstanceNorm1d", "SyncBatchNorm"]);
    assert!(!network[3].is_training());
    assert_eq!(revert_sync_batch_norm(&mut network), 2);
    assert_eq!(revert_sync_batch_norm(&mut network), 0);
    assert_eq!(network[3].class(), "BatchNorm2d");
}

#[test]
fn ranks_that_call_their_layers_in_another_order_are_found_out() {
    let errors = on_ranks(2, |group| {
        let mut layers: Vec<Layer> =
            (0..2).map(|_| Layer::new(&cpu(), SyncBatchNorm::new(3).group(&group)).expect("made")).collect();
        // Same shape, same type: nothing but the order tells them apart.
        layers[group.rank()].forward(&noise(&[4, 3], Dtype::F32, 0.0, 1)).map(drop)
    });
    for error in errors {
        assert_says(&error.expect_err("they differ"), &["the ranks differ in layer: 1 on rank 0, 2 on rank 1"]);
    }
}

#[test]
fn evaluation_and_frozen_layers_ask_nobody() {
    // The other ranks are never there: whoever asked them would wait, and be told.
    let group = &wgpu_norm::collective::local_with_timeout(2, std::time::Duration::from_millis(1))[0];
    for engine in engines() {
        let mut norm = Layer::new(&engine, SyncBatchNorm::new(3).group(group)).expect("made");
        let mut untracked =
            Layer::new(&engine, SyncBatchNorm::new(3).group(group).track_running_stats(false)).expect("made");
        let x = noise(&[4, 3], Dtype::F32, 0.0, 1);
        for norm in [&mut norm, &mut untracked] {
            assert!(norm.eval().forward(&x).is_ok());
            norm.train();
        }
        assert!(norm.freeze(true).forward(&x).is_ok());
        assert!(norm.freeze(false).forward(&x).is_err());
    }
}

#[test]
fn a_state_dict_fits_both() {
    let group = &wgpu_norm::collective::local(1)[0];
    let mut batch = layer(&cpu());
    batch.forward(&noise(&[8, 3, 4], Dtype::F32, 2.0, 1)).expect("a batch");
    let mut synchronized = Layer::new(&cpu(), SyncBatchNorm::new(3).group(group)).expect("made");
    synchronized.load_state_dict(&batch.state_dict("").expect("it is here"), "", true).expect("the same names");
    assert_eq!(values(&synchronized), values(&batch));
    let error = synchronized.forward(&noise(&[4, 2], Dtype::F32, 0.0, 1)).expect_err("two channels");
    assert_says(&error, &["3", "2"]);
    let error = synchronized.forward(&noise(&[3], Dtype::F32, 0.0, 1)).expect_err("one axis");
    assert_says(&error, &["2D"]);
}
