//! The whole batch's results, from its parts.

use crate::rig::{Batch, SHARDS, Step, cpu, distance, engines, noise, on_ranks, ranges, rows};
use std::sync::atomic::{AtomicUsize, Ordering};
use wgpu_norm::collective::{Group, ProcessGroup, local};
use wgpu_norm::norm::{BatchNorm, Fused, LayerNorm, Norm, SyncBatchNorm};
use wgpu_norm::plan::{Activation, Epilogue, Momentum};
use wgpu_norm::{Dtype, Engine, Layout, Parameters, RunningStatistics, Tensor};

/// Roundings that a sharded step may be away from the whole batch in f64, of the largest value of each tensor. A gradient
/// of weight or bias adds up 192 numbers that nearly cancel, so its own roundings are some ten times these.
const ROUNDINGS: f64 = 48.0;

/// Every rank's step, each on its engine.
fn sharded(batch: &Batch, shards: &[usize], engines: &[&Engine]) -> Vec<Step> {
    let ranges = ranges(shards);
    on_ranks(shards.len(), |group| {
        let engine = engines[group.rank() % engines.len()];
        batch.step(engine, ranges[group.rank()].clone(), Some(&group)).expect("all ranks do the same")
    })
}

/// Checks a batch in shards against the whole, and that the ranks agree on running estimates to the bit.
fn assert_whole(batch: &Batch, shards: &[usize], engines: &[&Engine], what: &str) -> f64 {
    let steps = sharded(batch, shards, engines);
    for (rank, step) in steps.iter().enumerate() {
        assert_eq!(step.running, steps[0].running, "{what}: rank {rank}");
    }
    let worst = distance(&batch.joined(&steps), &batch.expected());
    assert!(worst < ROUNDINGS, "{what} in shards of {shards:?}: {worst} roundings");
    worst
}

fn all_batches() -> Vec<(String, Batch)> {
    let mut batches = Vec::new();
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        for dtype in Dtype::ALL {
            batches.push((format!("{dtype} {layout:?}"), Batch::new(dtype, layout, 0.7)));
            let epilogue = Epilogue { activation: Some(Activation::Silu), ..Epilogue::default() };
            batches.push((format!("{dtype} {layout:?} fused"), Batch::new(dtype, layout, 0.2).fused(epilogue)));
        }
    }
    let plain =
        |norm: SyncBatchNorm| Batch { norm: Fused::new(norm), ..Batch::new(Dtype::F32, Layout::ChannelsFirst, 0.0) };
    batches.push(("without parameters".into(), Batch { weight: None, bias: None, ..plain(SyncBatchNorm::new()) }));
    batches.push(("without a bias".into(), Batch { bias: None, ..plain(SyncBatchNorm::new()) }));
    batches.push(("without running estimates".into(), Batch { running: None, ..plain(SyncBatchNorm::new()) }));
    batches.push(("cumulative".into(), plain(SyncBatchNorm::new().momentum(Momentum::Cumulative))));
    batches
}

#[test]
fn shards_give_what_the_whole_batch_gives_on_every_engine() {
    for engine in engines() {
        let mut worst = [0f64; 3];
        for (name, batch) in all_batches() {
            let name = format!("{name} on {}", engine.name());
            let of_type = Dtype::ALL.iter().position(|dtype| *dtype == batch.input.dtype()).expect("one of them");
            worst[of_type] = worst[of_type].max(assert_whole(&batch, &SHARDS, &[&engine], &name));
        }
        let [f32, f16, bf16] = worst;
        let name = engine.name();
        println!("{name}: {f32:.2} roundings of f32 at worst, {f16:.2} of f16, {bf16:.2} of bf16, {ROUNDINGS} allowed");
    }
}

#[test]
fn ranks_of_mixed_kind_work_together() {
    let engines = engines();
    let mixed: Vec<&Engine> = engines.iter().rev().collect();
    for (name, batch) in all_batches() {
        assert_whole(&batch, &[5, 13, 1, 13], &mixed, &format!("{name} on {} engines", mixed.len()));
    }
}

#[test]
fn two_devices_of_one_adapter_are_two_ranks() {
    let batch = Batch::new(Dtype::F32, Layout::ChannelsFirst, 0.7);
    for (first, second) in engines().iter().zip(engines().iter()) {
        assert_whole(&batch, &[9, 23], &[first, second], first.name());
    }
}

#[test]
fn groups_beside_each_other_do_not_meet() {
    let cpu = cpu();
    let batches = [0.7, 5.0].map(|mean| Batch::new(Dtype::F32, Layout::ChannelsFirst, mean));
    std::thread::scope(|scope| {
        for batch in &batches {
            scope.spawn(|| assert_whole(batch, &SHARDS, &[&cpu], "one of two groups"));
        }
    });
}

#[test]
fn any_cut_of_the_batch_gives_the_same() {
    let batch = Batch::new(Dtype::F32, Layout::ChannelsFirst, 0.7);
    let cpu = cpu();
    for shards in [&[32][..], &[0, 32], &[16, 16], &[31, 1], &[1; 32], &[0, 0, 3, 0, 29, 0]] {
        assert_whole(&batch, shards, &[&cpu], "the CPU");
    }
}

#[test]
fn a_mean_of_1e4_loses_nothing_in_the_merge() {
    // Of f32 values near 1e4 the last digit is 1e-3: what is compared is what is made of them.
    let batch = Batch::new(Dtype::F32, Layout::ChannelsFirst, 1e4);
    for engine in engines() {
        assert_whole(&batch, &SHARDS, &[&engine], engine.name());
    }
}

#[test]
fn timing_changes_no_bit() {
    let batch = Batch::new(Dtype::F32, Layout::ChannelsFirst, 0.7);
    let (cpu, ranges) = (cpu(), ranges(&SHARDS));
    let first = sharded(&batch, &SHARDS, &[&cpu]);
    for round in 0..20u64 {
        let again = on_ranks(SHARDS.len(), |group| {
            let late = (group.rank() as u64 * 7 + round * 3) % 5;
            std::thread::sleep(std::time::Duration::from_millis(late));
            batch.step(&cpu, ranges[group.rank()].clone(), Some(&group)).expect("all do the same")
        });
        assert!(again == first, "round {round}");
    }
}

#[test]
fn empty_shards_everywhere_count_as_a_batch_and_move_nothing() {
    let batch = Batch::new(Dtype::F32, Layout::ChannelsFirst, 0.0);
    let counted = RunningStatistics { num_batches_tracked: Some(1), ..RunningStatistics::new(5) };
    for engine in engines() {
        let steps = on_ranks(2, |group| batch.step(&engine, 0..0, Some(&group)).expect("nothing is no fault"));
        for step in steps {
            assert_eq!(step.running.as_ref(), Some(&counted), "{}", engine.name());
            assert_eq!(step.gradients.weight.expect("there is a weight").data().to_f32(), [0.0; 5]);
        }
    }
}

/// A transport that nobody may use.
struct Forbidden(AtomicUsize);

impl ProcessGroup for Forbidden {
    fn rank(&self) -> usize {
        0
    }

    fn world_size(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn all_gather(&self, operation: &str, _: &[f64]) -> wgpu_norm::Result<Vec<Vec<f64>>> {
        panic!("{operation} was not to communicate")
    }
}

#[test]
fn evaluation_and_a_world_of_one_are_batch_norm_and_communicate_nothing() {
    let x = noise(&[4, 3, 2], Dtype::F32, 0.5, 9);
    let running =
        || RunningStatistics { mean: vec![0.1, 0.2, 0.3], var: vec![1.0, 2.0, 3.0], num_batches_tracked: Some(3) };
    for engine in engines() {
        for (world_size, training, tracks) in [(1, true, true), (3, false, true), (3, false, false), (1, false, false)]
        {
            let group = Group::new(Forbidden(AtomicUsize::new(world_size)));
            let run = |norm: &dyn Norm, group: Option<&Group>| {
                let mut running = tracks.then(running);
                let mut parameters = Parameters { running: running.as_mut(), group, ..Parameters::default() };
                let forward = engine.forward_saving(norm, &x, &mut parameters).expect("a batch");
                let gradients = engine.backward(norm, &x, &x, &forward.statistics, &parameters, None).expect("fits");
                (forward, gradients, running)
            };
            let synchronized = run(&SyncBatchNorm::new().training(training), Some(&group));
            let own = run(&BatchNorm::new().training(training), None);
            assert!(synchronized == own, "{} {world_size} {training} {tracks}", engine.name());
        }
    }
}

#[test]
fn a_group_has_no_place_in_other_normalizations() {
    let group = &local(1)[0];
    let x = Tensor::from_f32([1, 2], vec![1.0, 2.0]).expect("two values");
    let mut parameters = Parameters { group: Some(group), ..Parameters::default() };
    let error = cpu().forward(&LayerNorm::new([2]), &x, &mut parameters).expect_err("it shares nothing");
    assert_eq!(error.to_string(), "group: not expected, SyncBatchNorm alone shares statistics with other ranks");
}

#[test]
fn what_holds_a_norm_shares_as_the_norm_does() {
    let x = noise(&[4, 3], Dtype::F32, 0.5, 11);
    let forward = |norm: &dyn Norm, group: Group| {
        let mut parameters = Parameters { group: Some(&group), ..Parameters::default() };
        cpu().forward(norm, &rows(&x, 2 * group.rank()..2 * group.rank() + 2), &mut parameters).expect("a shard")
    };
    let norm = SyncBatchNorm::new();
    let (boxed, by_reference): (Box<dyn Norm>, Fused<&SyncBatchNorm>) = (Box::new(norm.clone()), Fused::new(&norm));
    let own = on_ranks(2, |group| forward(&norm, group));
    for held in [&boxed as &dyn Norm, &by_reference] {
        assert!(on_ranks(2, |group| forward(held, group)) == own, "the statistics of both shards");
    }
}

#[test]
fn one_value_a_channel_is_refused_alone_and_served_in_company() {
    let x = noise(&[2, 3], Dtype::F32, 0.0, 7);
    for engine in engines() {
        let forward = |rank: std::ops::Range<usize>, group: Option<&Group>| {
            let mut parameters = Parameters { group, ..Parameters::default() };
            engine.forward(&SyncBatchNorm::new(), &rows(&x, rank), &mut parameters)
        };
        let text = forward(0..1, None).expect_err("it has no variance").to_string();
        assert!(text.contains("more than one value per channel"), "{text}");
        let both = on_ranks(2, |group| forward(group.rank()..group.rank() + 1, Some(&group)));
        assert!(both.iter().all(Result::is_ok), "{both:?}");
        let alone = on_ranks(2, |group| forward(0..1 - group.rank(), Some(&group)));
        for error in alone {
            let text = error.expect_err("one value over all ranks").to_string();
            assert!(text.contains("more than one value per channel over all ranks"), "{text}");
        }
    }
}

#[test]
fn in_place_gives_the_same() {
    let batch = Batch::new(Dtype::F32, Layout::ChannelsFirst, 0.7);
    let ranges = ranges(&SHARDS);
    for engine in engines() {
        let steps = sharded(&batch, &SHARDS, &[&engine]);
        let in_place = on_ranks(SHARDS.len(), |group| {
            let mut tensor = rows(&batch.input, ranges[group.rank()].clone());
            let mut parameters = Parameters {
                weight: batch.weight.as_ref(),
                bias: batch.bias.as_ref(),
                group: Some(&group),
                ..Parameters::default()
            };
            engine.forward_in_place(&batch.norm, &mut tensor, &mut parameters).expect("all do the same");
            tensor
        });
        for (step, tensor) in steps.iter().zip(in_place) {
            assert!(step.output == tensor, "{}", engine.name());
        }
    }
}
