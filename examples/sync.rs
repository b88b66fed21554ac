//! One batch over four ranks: a layer that is trained by shards of 7, 1, 0 and 24 samples, beside the same layer trained
//! by the whole batch at once.
//!
//! Each rank has a device of its own: the adapters and the processor in turn. Without MPI the ranks are threads:
//!
//! ```sh
//! cargo run --release --example sync
//! ```
//!
//! With it they are processes, on one machine or on many:
//!
//! ```sh
//! cargo build --release --features mpi --example sync
//! mpirun -n 4 target/release/examples/sync
//! ```

#[path = "application/ending.rs"]
mod ending;

use ending::ending;
use std::ops::Range;
use wgpu_norm::collective::{Group, local};
use wgpu_norm::layer::{BatchNorm1d, Layer, SyncBatchNorm};
use wgpu_norm::{Choice, Data, Dtype, Engine, Result, Tensor};

const SHARDS: [usize; 4] = [7, 1, 0, 24];
const CHANNELS: usize = 3;
const POSITIONS: usize = 5;
const STEPS: usize = 8;
const RATE: f64 = 0.2;
/// What the sums of shards may be away from those of the whole, in f32.
const TOLERANCE: f64 = 1e-5;

fn main() -> std::process::ExitCode {
    ending(run_ranks())
}

/// The ranks that MPI started, or as many threads.
fn run_ranks() -> std::result::Result<(), Box<dyn std::error::Error>> {
    #[cfg(feature = "mpi")]
    {
        use wgpu_norm::collective::{mpi, mpi_world};
        let universe = mpi::initialize_with_threading(mpi::Threading::Serialized);
        let group = mpi_world(std::time::Duration::from_secs(60))?;
        if group.world_size() > 1 {
            if let Err(error) = run(&group).and_then(|()| group.barrier()) {
                eprintln!("rank {}: {error}", group.rank());
                // The others may wait for this rank, and ending in good order would wait for them.
                mpi::traits::Communicator::abort(&mpi::topology::SimpleCommunicator::world(), 1);
            }
            return Ok(());
        }
        drop(universe);
    }
    let groups = local(SHARDS.len());
    std::thread::scope(|scope| {
        let ranks: Vec<_> = groups.into_iter().map(|group| scope.spawn(move || run(&group))).collect();
        ranks.into_iter().try_for_each(|rank| rank.join().expect("no rank panics"))
    })?;
    Ok(())
}

/// What each rank does.
fn run(group: &Group) -> Result<()> {
    let engine = engine_of(group.rank())?;
    let mut norm = Layer::new(&engine, SyncBatchNorm::new(CHANNELS).group(group))?;
    let mut whole = Layer::new(&pollster::block_on(Engine::open(&Choice::Cpu))?, BatchNorm1d::new(CHANNELS))?;
    let own = samples_of(group);
    println!("rank {} of {} has samples {own:?} on {}", group.rank(), group.world_size(), engine.name());
    group.barrier()?;

    let mut largest = 0f64;
    for step in 0..STEPS {
        let all = 0..SHARDS.iter().sum();
        let loss = train(&mut norm, &own, Some(group))?;
        let loss_of_whole = train(&mut whole, &all, None)?;
        largest = largest.max((loss - loss_of_whole).abs());
        if group.rank() == 0 {
            println!("step {step}: loss {loss:.6} in shards, {loss_of_whole:.6} of the whole batch");
        }
    }
    for name in ["weight", "bias", "running_mean", "running_var"] {
        let (own, want) = (norm.get(name)?.data().to_f64(), whole.get(name)?.data().to_f64());
        let ranks = group.all_gather(name, &own)?;
        assert!(ranks.iter().all(|other| *other == own), "{name} is the same on all ranks, to the bit");
        largest = own.iter().zip(&want).fold(largest, |largest, (own, want)| largest.max((own - want).abs()));
    }
    assert!(largest < TOLERANCE, "shards are {largest:e} away from the whole batch");
    if group.rank() == 0 {
        println!(
            "after {STEPS} steps losses and state are within {largest:.1e} of the whole batch's, and alike on all ranks"
        );
    }
    Ok(())
}

/// A step of gradient descent that makes normalized samples more like their targets. Gives the loss over all ranks.
fn train(norm: &mut Layer, own: &Range<usize>, group: Option<&Group>) -> Result<f64> {
    let (x, target) = (data(own, 0.0)?, data(own, 2.0)?);
    let forward = norm.forward_saving(&x)?;
    let values = (SHARDS.iter().sum::<usize>() * CHANNELS * POSITIONS) as f64;
    let differences: Vec<f64> =
        forward.output.data().to_f64().iter().zip(target.data().to_f64()).map(|(y, target)| y - target).collect();
    let upstream: Vec<f64> = differences.iter().map(|difference| 2.0 * difference / values).collect();
    let gradients = norm.backward(&x, &tensor(x.shape(), &upstream)?, &forward, None)?;

    // Statistics are the layer's business. The rest of the network's gradients, and losses, are added up by whoever
    // trains it: PyTorch's DistributedDataParallel does this.
    let total = |what: &str, own: Vec<f64>| -> Result<Vec<f64>> {
        let Some(group) = group else { return Ok(own) };
        let ranks = group.all_gather(what, &own)?;
        Ok((0..own.len()).map(|i| ranks.iter().map(|rank| rank[i]).sum()).collect())
    };
    for (name, gradient) in [("weight", gradients.weight), ("bias", gradients.bias)] {
        let Some(gradient) = gradient else { continue };
        let gradient = total(name, gradient.data().to_f64())?;
        let moved: Vec<f64> =
            norm.get(name)?.data().to_f64().iter().zip(gradient).map(|(value, slope)| value - RATE * slope).collect();
        norm.set(name, tensor(&[CHANNELS], &moved)?)?;
    }
    let loss = differences.iter().map(|difference| difference * difference).sum::<f64>() / values;
    Ok(total("loss", vec![loss])?[0])
}

/// The samples of a rank: those of its shard, or an even part where there are not four ranks.
fn samples_of(group: &Group) -> Range<usize> {
    let (rank, ranks, all) = (group.rank(), group.world_size(), SHARDS.iter().sum::<usize>());
    if ranks == SHARDS.len() {
        let first = SHARDS[..rank].iter().sum::<usize>();
        first..first + SHARDS[rank]
    } else {
        rank * all / ranks..(rank + 1) * all / ranks
    }
}

/// Adapters and the processor in turn.
fn engine_of(rank: usize) -> Result<Engine> {
    let mut choices = pollster::block_on(Choice::all());
    choices.retain(|choice| !matches!(choice, Choice::Reference));
    choices.reverse();
    pollster::block_on(Engine::open(&choices[rank % choices.len()]))
}

/// Some samples of a batch that is the same everywhere.
fn data(samples: &Range<usize>, shift: f64) -> Result<Tensor> {
    let row = CHANNELS * POSITIONS;
    let value = |i: usize| (i as f64 * 0.7 + shift).sin() * 3.0 + (i % 7) as f64;
    let values: Vec<f64> = (samples.start * row..samples.end * row).map(value).collect();
    tensor(&[samples.len(), CHANNELS, POSITIONS], &values)
}

fn tensor(shape: &[usize], values: &[f64]) -> Result<Tensor> {
    Tensor::new(shape, Data::from_f64(Dtype::F32, values))
}
