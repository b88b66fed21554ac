//! Ranks that die, never come, or do something else.

use crate::rig::{assert_says, cpu, engines, in_groups, noise, on_ranks};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use wgpu_norm::collective::{Group, ProcessGroup, local_with_timeout};
use wgpu_norm::layer::{self, Layer};
use wgpu_norm::norm::{BatchNorm, Norm, Operands, SyncBatchNorm};
use wgpu_norm::plan::{Momentum, Plan, RunningVariance, Sharing};
use wgpu_norm::{Choice, Dtype, Engine, Error, Parameters, Result, RunningStatistics, Tensor, Upstream};

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
    let cases: [Otherwise; 6] = [
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
            |group| tracking(&SyncBatchNorm::new().momentum(Momentum::Cumulative), group),
            "kind of momentum: fixed on ranks 0, 2, cumulative on rank 1",
        ),
        (
            |group| tracking(&SyncBatchNorm::new().momentum(Momentum::Fixed(0.25)), group),
            "momentum: 0.1 on ranks 0, 2, 0.25 on rank 1",
        ),
        (
            |group| {
                let batch = BatchNorm::new().running_variance(RunningVariance::Biased);
                tracking(&SyncBatchNorm { batch: batch.training(true) }, group)
            },
            "variance of the running estimates: unbiased on ranks 0, 2, biased on rank 1",
        ),
    ];
    for (otherwise, told) in cases {
        let tracks = told.contains("momentum") || told.contains("estimates");
        let like_others = |group: &Group| if tracks { tracking(&SyncBatchNorm::new(), group) } else { plain(group) };
        let errors = on_ranks(3, |group| if group.rank() == 1 { otherwise(&group) } else { like_others(&group) });
        for error in errors {
            let want = format!("sync_batch_norm forward: the ranks differ in {told}");
            assert_eq!(error.expect_err("they differ").to_string(), want);
        }
    }
    let errors =
        on_ranks(2, |group| if group.rank() == 1 { tracking(&SyncBatchNorm::new(), &group) } else { plain(&group) });
    for error in errors {
        assert_says(&error.expect_err("they differ"), &["kind of momentum: none on rank 0, fixed on rank 1"]);
    }
}

/// A step that moves running estimates.
fn tracking(norm: &SyncBatchNorm, group: &Group) -> Result<Tensor> {
    let mut running = RunningStatistics::new(3);
    let mut parameters = Parameters { running: Some(&mut running), group: Some(group), ..Parameters::default() };
    cpu().forward(norm, &noise(&[4, 3], Dtype::F32, 0.0, 1), &mut parameters)
}

/// Its rank lives on, and so does its group: the others are told, and not left to wait.
#[test]
fn a_rank_whose_pass_is_dropped_tells_the_others() {
    let errors = on_ranks(3, |group| {
        let result = if group.rank() == 1 {
            let x = noise(&[4, 3], Dtype::F32, 0.0, 1);
            std::panic::catch_unwind(AssertUnwindSafe(|| {
                let mut parameters = Parameters { group: Some(&group), ..Parameters::default() };
                cpu().forward(&Panics(SyncBatchNorm::new()), &x, &mut parameters)
            }))
            .map_or(Ok(()), |result| result.map(drop))
        } else {
            plain(&group).map(drop)
        };
        (result, plain(&group))
    });
    for (rank, (error, after)) in errors.into_iter().enumerate() {
        assert!(after.is_ok(), "the group goes on: {after:?}");
        match rank {
            1 => assert_eq!(error, Ok(())),
            _ => assert_says(&error.expect_err("rank 1 panicked"), &["rank 1 gave up before it: it was dropped"]),
        }
    }
}

/// A group whose transport panics where it is told that the rank gave up.
struct Breaks;

impl ProcessGroup for Breaks {
    fn rank(&self) -> usize {
        0
    }

    fn world_size(&self) -> usize {
        2
    }

    fn all_gather(&self, _: &str, _: &[f64]) -> Result<Vec<Vec<f64>>> {
        panic!("this transport panics in a test")
    }
}

/// Two panics at once would end the process.
#[test]
fn a_transport_that_panics_while_its_rank_does_leaves_one_panic() {
    let group = Group::new(Breaks);
    let panic = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let mut parameters = Parameters { group: Some(&group), ..Parameters::default() };
        cpu().forward(&Panics(SyncBatchNorm::new()), &noise(&[4, 3], Dtype::F32, 0.0, 1), &mut parameters)
    }));
    let words = panic.expect_err("the pass panics").downcast_ref::<&str>().map(|text| (*text).to_owned());
    assert_eq!(words.as_deref(), Some("this pass panics in a test"));
}

/// A group of another, whose device is gone once the ranks have met so often.
struct Loses {
    ranks: Group,
    device: wgpu::Device,
    meetings_left: AtomicUsize,
}

impl ProcessGroup for Loses {
    fn rank(&self) -> usize {
        self.ranks.rank()
    }

    fn world_size(&self) -> usize {
        self.ranks.world_size()
    }

    fn all_gather(&self, operation: &str, values: &[f64]) -> Result<Vec<Vec<f64>>> {
        let all = self.ranks.all_gather(operation, values);
        if self.meetings_left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.device.destroy();
        }
        all
    }
}

/// All others have moved theirs, and the layer goes on elsewhere with what they have.
#[test]
fn a_device_that_is_lost_after_the_meeting_has_moved_its_estimates() {
    let choices = pollster::block_on(Choice::all());
    for choice in engines().iter().map(|engine| choices.iter().find(|choice| choice.name() == engine.name())) {
        let Some(Choice::Adapter { adapter, .. }) = choice else { continue };
        let ranks = on_ranks(2, |group| {
            let (mut engine, mut own) = (cpu(), group.clone());
            if group.rank() == 1 {
                let descriptor = wgpu::DeviceDescriptor { required_limits: adapter.limits(), ..Default::default() };
                let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("a device");
                engine = Engine::with_device(&device, &queue);
                own = Group::new(Loses { ranks: group.clone(), device, meetings_left: AtomicUsize::new(2) });
            }
            let mut norm = Layer::new(&engine, layer::SyncBatchNorm::new(3).group(&own)).expect("made");
            let x = noise(&[4, 3], Dtype::F32, 2.0, group.rank() as u64);
            norm.forward(&x).expect("both are there");
            let second = norm.forward(&x).map(drop);
            norm.to(&cpu()).expect("it is on the host too");
            norm.forward(&x).expect("both are there again");
            let estimates = ["running_mean", "running_var"].map(|name| norm.get(name).expect("it has them"));
            (second, estimates, norm.num_batches_tracked())
        });
        assert_eq!(ranks[0].0, Ok(()));
        assert!(matches!(ranks[1].0, Err(Error::DeviceLost(_))), "{:?}", ranks[1].0);
        assert_eq!((&ranks[0].1, &ranks[0].2), (&ranks[1].1, &ranks[1].2), "the same on both");
        assert_eq!(ranks[0].2, Ok(Some(3)));
    }
}

/// Panics where it is lowered.
#[derive(Debug)]
struct Panics(SyncBatchNorm);

impl Norm for Panics {
    fn lower(&self, _: &Operands) -> Result<Plan> {
        panic!("this pass panics in a test")
    }

    fn sharing(&self) -> Sharing {
        self.0.sharing()
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
fn a_rank_with_an_error_of_its_own_tells_the_others() {
    let told = |errors: Vec<Result<Tensor>>, own: &str| {
        for (rank, error) in errors.into_iter().enumerate() {
            let text = error.expect_err("rank 1 fails").to_string();
            let want = if rank == 1 { own.to_owned() } else { format!("rank 1 gave up before it: {own}") };
            assert!(text.ends_with(&want), "rank {rank}: {text:?} instead of {want:?}");
        }
    };
    // By the engine: a tensor without an axis of channels, forward; a gradient of another shape, backward.
    let lowering = |group: &Group| forward(&SyncBatchNorm::new(), &[4], Dtype::F32, group);
    let results = on_ranks(3, |group| {
        let wrong = if group.rank() == 1 { lowering(&group) } else { plain(&group) };
        (wrong, plain(&group))
    });
    let (wrong, after): (Vec<_>, Vec<_>) = results.into_iter().unzip();
    told(wrong, "input: expected at least the axes N and C, got shape [4]");
    assert!(after.iter().all(Result::is_ok), "the group goes on: {after:?}");
    let results = on_ranks(3, |group| {
        let (cpu, x) = (cpu(), noise(&[4, 3], Dtype::F32, 0.0, 1));
        let mut parameters = Parameters { group: Some(&group), ..Parameters::default() };
        let norm = SyncBatchNorm::new();
        let kept = cpu.forward_saving(&norm, &x, &mut parameters).expect("all do this").statistics;
        let upstream = noise(if group.rank() == 1 { &[3, 4] } else { &[4, 3] }, Dtype::F32, 0.0, 1);
        cpu.backward(&norm, &x, &upstream, &kept, &parameters, None).map(|gradients| gradients.input.expect("wanted"))
    });
    told(results, "grad_output: expected shape [4, 3], that of the output, got shape [3, 4]");
    // By a layer, whose own rules come first.
    let results = on_ranks(3, |group| {
        let mut norm = Layer::new(&cpu(), layer::SyncBatchNorm::new(3).group(&group)).expect("made");
        let shape: &[usize] = if group.rank() == 1 { &[4] } else { &[4, 3] };
        norm.forward(&noise(shape, Dtype::F32, 0.0, 1))
    });
    told(results, "input: expected at least 2D input (got 1D input), got shape [4]");
}

#[test]
fn gradients_of_shared_statistics_are_refused() {
    let errors = on_ranks(2, |group| {
        let (cpu, x, one) = (cpu(), noise(&[4, 3], Dtype::F32, 0.0, 1), noise(&[3], Dtype::F32, 0.0, 1));
        let mut parameters = Parameters { group: Some(&group), ..Parameters::default() };
        let norm = SyncBatchNorm::new();
        let kept = cpu.forward_saving(&norm, &x, &mut parameters).expect("both do this").statistics;
        let upstream = Upstream { output: &x, sum: None, mean: Some(&one), std: None };
        cpu.backward(&norm, &x, upstream, &kept, &parameters, None).map(drop)
    });
    for error in errors {
        assert_says(&error.expect_err("they would have to cross"), &["grad_mean: not expected"]);
    }
}

#[test]
fn two_threads_of_one_rank_do_not_get_each_others_answers() {
    let results = on_ranks(2, |group| {
        if group.rank() == 1 {
            return (0..200).map(|i| group.all_gather("one", &[f64::from(i)]).map(|all| all[1][0])).collect::<Vec<_>>();
        }
        let call = |_: i32| loop {
            match group.all_gather("one", &[-1.0]) {
                Err(error) if error.to_string().contains("in another call already") => std::thread::yield_now(),
                other => return other.map(|all| all[1][0]),
            }
        };
        std::thread::scope(|scope| {
            let threads = [(); 2].map(|()| scope.spawn(|| (0..100).map(call).collect::<Vec<_>>()));
            let each = threads.map(|thread| thread.join().expect("no panic"));
            for own in &each {
                let values: Vec<f64> = own.iter().map(|value| *value.as_ref().expect("both come")).collect();
                assert!(values.is_sorted_by(|a, b| a < b), "{values:?}");
            }
            each.concat()
        })
    });
    assert_eq!(results.concat().len(), 400);
}

#[test]
fn no_channels_are_no_statistics() {
    let counted = RunningStatistics { num_batches_tracked: Some(1), ..RunningStatistics::new(0) };
    for engine in engines() {
        let results = on_ranks(2, |group| {
            let mut running = RunningStatistics::new(0);
            let mut parameters =
                Parameters { running: Some(&mut running), group: Some(&group), ..Parameters::default() };
            let x = noise(&[4, 0], Dtype::F32, 0.0, 1);
            let forward = engine.forward_saving(&SyncBatchNorm::new(), &x, &mut parameters).expect("nothing");
            engine.backward(&SyncBatchNorm::new(), &x, &x, &forward.statistics, &parameters, None).expect("nothing");
            running
        });
        assert_eq!(results, vec![counted.clone(); 2], "{}", engine.name());
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
