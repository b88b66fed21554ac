//! What synchronized statistics cost beside the kernels: measured handling and merging of what was gathered, and what
//! a network adds by a model of it. Prints the table of `docs/synchronized.md`.
//!
//! ```sh
//! cargo bench --bench collective
//! ```

use std::time::{Duration, Instant};
use wgpu_norm::collective::{Group, ProcessGroup};
use wgpu_norm::norm::SyncBatchNorm;
use wgpu_norm::{Choice, Dtype, Engine, Parameters, Result, RunningStatistics, Tensor};

const RANKS: [usize; 3] = [8, 64, 1024];
const CHANNELS: [usize; 3] = [64, 512, 2048];
/// The batch normalizations of ResNet-50: 53 of them.
const RESNET_50: [(usize, usize); 6] = [(64, 7), (128, 8), (256, 16), (512, 11), (1024, 7), (2048, 4)];
/// Of one message from one rank to another, in seconds.
const LATENCY: f64 = 2e-6;
/// What a rank receives in a second: 100 Gbit/s.
const BANDWIDTH: f64 = 12.5e9;

/// A group whose ranks all say the same, at once: what is left is what a rank does itself.
struct Echo {
    world_size: usize,
}

impl ProcessGroup for Echo {
    fn rank(&self) -> usize {
        0
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn all_gather(&self, _: &str, values: &[f64]) -> Result<Vec<Vec<f64>>> {
        Ok(vec![values.to_vec(); self.world_size])
    }
}

/// The median time of a rank whose own part is one sample of one position, so that its kernels cost nothing.
fn pass(engine: &Engine, ranks: usize, channels: usize, backward: bool) -> Result<Duration> {
    let group = Group::new(Echo { world_size: ranks });
    let input = Tensor::zeros([1, channels], Dtype::F32)?;
    let norm = SyncBatchNorm::new();
    let mut running = RunningStatistics::new(channels);
    let mut parameters = Parameters { running: Some(&mut running), group: Some(&group), ..Parameters::default() };
    let statistics = engine.forward_saving(&norm, &input, &mut parameters)?.statistics;
    let mut times = Vec::new();
    for _ in 0..31 {
        let begin = Instant::now();
        if backward {
            engine.backward(&norm, &input, &input, &statistics, &parameters, None)?;
        } else {
            engine.forward_saving(&norm, &input, &mut parameters)?;
        }
        times.push(begin.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}

/// Bytes that a rank receives in one pass: a header of eight numbers, a count, and two numbers a channel, from each rank.
fn bytes(ranks: usize, channels: usize) -> f64 {
    (8 * ranks * (9 + 2 * channels)) as f64
}

/// A gather by recursive doubling: its rounds' latencies, and the bytes at the network's speed. As the MPI group does
/// it: 2 KiB a rank first, and in a second gather what that does not hold.
fn network(ranks: usize, channels: usize) -> f64 {
    let first = (2048 * ranks) as f64;
    let rest = (bytes(ranks, channels) - (8 * 254 * ranks) as f64).max(0.0);
    let gathers = if rest > 0.0 { 2.0 } else { 1.0 };
    gathers * LATENCY * (ranks as f64).log2().ceil() + (first + rest) / BANDWIDTH
}

fn main() -> Result<()> {
    let engine = pollster::block_on(Engine::open(&Choice::Cpu))?;
    println!("A pass blocks on one gather, and makes one round trip to the device more than BatchNorm does.");
    println!();
    println!(
        "| ranks | channels | received, a pass | network, by the model | handling and merging, forward | backward |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for ranks in RANKS {
        for channels in CHANNELS {
            let own = |backward| pass(&engine, ranks, channels, backward).map(|time| time.as_secs_f64() * 1e6);
            println!(
                "| {ranks} | {channels} | {:.1} KiB | {:.0} us | {:.0} us | {:.0} us |",
                bytes(ranks, channels) / 1024.0,
                network(ranks, channels) * 1e6,
                own(false)?,
                own(true)?
            );
        }
    }
    println!();
    println!("| ranks | ResNet-50, a training step: received | network, by the model | handling and merging |");
    println!("| --- | --- | --- | --- |");
    for ranks in RANKS {
        let (mut received, mut sent, mut own) = (0.0, 0.0, 0.0);
        for (channels, layers) in RESNET_50 {
            let layers = layers as f64;
            received += 2.0 * layers * bytes(ranks, channels);
            sent += 2.0 * layers * network(ranks, channels);
            let both = pass(&engine, ranks, channels, false)? + pass(&engine, ranks, channels, true)?;
            own += layers * both.as_secs_f64();
        }
        println!("| {ranks} | {:.1} MiB | {:.1} ms | {:.1} ms |", received / 1048576.0, sent * 1e3, own * 1e3);
    }
    Ok(())
}
