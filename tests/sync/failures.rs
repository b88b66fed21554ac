//! Ranks that die, never come, or do something else.

use crate::rig::{assert_says, cpu, in_groups, noise, on_ranks};
use std::time::{Duration, Instant};
use wgpu_norm::collective::{Group, local_with_timeout};
use wgpu_norm::norm::SyncBatchNorm;
use wgpu_norm::plan::Momentum;
use wgpu_norm::{Dtype, Error, Parameters, Result, RunningStatistics, Tensor};

const SHORT: Duration = Duration::from_millis(300);

fn forward(norm: &SyncBatchNorm, shape: &[usize], dtype: Dtype, group: &Group) -> Result<Tensor> {
    let mut parameters = Parameters { group: Some(group), ..Parameters::default() };
    cpu().forward(norm, &noise(shape, dtype, 0.0, 1), &mut parameters)
}

fn plain(group: &Group) -> Result<Tensor> {
    forward(&SyncBatchNorm::new(), &[4, 3], Dtype::F32, group)
}

#[test]
fn a_rank_that_never_comes_is_named_after_the_timeout() {
    let begin = Instant::now();
    let mut groups = local_with_timeout(4, SHORT);
    let late = groups.remove(2);
    let errors = in_groups(groups, |group| plain(&group).expect_err("rank 2 is not here"));
    assert!(begin.elapsed() < Duration::from_secs(20), "nobody waits longer than that");
    for error in &errors {
        assert_eq!(error.to_string(), "sync_batch_norm forward: rank 2 did not arrive within 300ms");
    }
    // The group stays broken: whoever comes late does not wait for ranks that gave up.
    let begin = Instant::now();
    assert_eq!(plain(&late).expect_err("the others gave up"), errors[0]);
    assert!(begin.elapsed() < SHORT);
}

#[test]
fn a_rank_that_dies_is_missed_at_once() {
    let mut groups = local_with_timeout(3, Duration::MAX);
    let dies = groups.remove(1);
    let panics = std::thread::spawn(move || {
        let _held = dies;
        std::thread::sleep(Duration::from_millis(50));
        panic!("this rank dies in a test");
    });
    let errors = in_groups(groups, |group| plain(&group).expect_err("rank 1 died"));
    for error in errors {
        assert_eq!(error.to_string(), "sync_batch_norm forward: rank 1 left the group");
    }
    assert!(panics.join().is_err());
}

#[test]
fn a_rank_that_skips_a_call_is_found_out() {
    let errors = on_ranks(2, |group| {
        let first = plain(&group);
        assert!(first.is_ok(), "{first:?}");
        if group.rank() == 0 { plain(&group).map(drop) } else { Ok(()) }
    });
    assert_says(errors[0].as_ref().expect_err("rank 1 went on"), &["sync_batch_norm forward", "rank 1 left"]);
}

#[test]
fn ranks_that_differ_are_told_in_what() {
    /// What a rank does otherwise than the others, and what all are told.
    type Otherwise = (fn(&Group) -> Result<Tensor>, &'static str);
    let cases: [Otherwise; 4] = [
        (
            |group| forward(&SyncBatchNorm::new(), &[4, 5], Dtype::F32, group),
            "number of channels: 3 on ranks 0, 2, 5 on rank 1",
        ),
        (|group| forward(&SyncBatchNorm::new(), &[4, 3], Dtype::F16, group), "type: f32 on ranks 0, 2, f16 on rank 1"),
        (
            |group| forward(&SyncBatchNorm::new().eps(1e-3), &[4, 3], Dtype::F32, group),
            "eps: 0.00001 on ranks 0, 2, 0.001 on rank 1",
        ),
        (
            |group| {
                let mut running = RunningStatistics::new(3);
                let mut parameters =
                    Parameters { running: Some(&mut running), group: Some(group), ..Parameters::default() };
                let norm = SyncBatchNorm::new().momentum(Momentum::Cumulative);
                cpu().forward(&norm, &noise(&[4, 3], Dtype::F32, 0.0, 1), &mut parameters)
            },
            "momentum: none on ranks 0, 2, cumulative on rank 1",
        ),
    ];
    for (otherwise, told) in cases {
        let errors = on_ranks(3, |group| if group.rank() == 1 { otherwise(&group) } else { plain(&group) });
        for error in errors {
            let want = format!("sync_batch_norm forward: the ranks differ in {told}");
            assert_eq!(error.expect_err("they differ").to_string(), want);
        }
    }
}

#[test]
fn ranks_in_different_passes_are_told_so() {
    let errors = on_ranks(2, |group| {
        let (cpu, x) = (cpu(), noise(&[4, 3], Dtype::F32, 0.0, 1));
        let mut parameters = Parameters { group: Some(&group), ..Parameters::default() };
        let norm = SyncBatchNorm::new();
        let forward = cpu.forward_saving(&norm, &x, &mut parameters).expect("both do this");
        if group.rank() == 0 {
            cpu.forward(&norm, &x, &mut parameters).map(drop)
        } else {
            cpu.backward(&norm, &x, &x, &forward.statistics, &parameters, None).map(drop)
        }
    });
    for error in errors {
        assert_says(&error.expect_err("they differ"), &["rank 0 calls sync_batch_norm forward", "rank 1", "backward"]);
    }
}

#[test]
fn a_group_outlives_a_mistake() {
    let results = on_ranks(2, |group| {
        let shape = [4, 3 + group.rank()];
        let refused = forward(&SyncBatchNorm::new(), &shape, Dtype::F32, &group);
        assert!(matches!(refused, Err(Error::Collective { .. })), "{refused:?}");
        plain(&group)
    });
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

#[test]
fn barriers_and_gathers_are_for_applications_too() {
    let gathered = on_ranks(3, |group| {
        group.barrier().expect("all come");
        let own: Vec<f64> = vec![group.rank() as f64; group.rank()];
        group.all_gather("lengths may differ", &own).expect("all come")
    });
    assert_eq!(gathered, vec![vec![vec![], vec![1.0], vec![2.0, 2.0]]; 3]);
    let errors =
        on_ranks(2, |group| if group.rank() == 0 { group.barrier() } else { group.all_gather("sum", &[]).map(drop) });
    for error in errors {
        assert_says(&error.expect_err("they differ"), &["barrier: rank 0 calls barrier, rank 1 calls sum"]);
    }
}
