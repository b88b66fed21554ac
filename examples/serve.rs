//! A tokio program: clients that await their tensors on a runtime of one thread, which goes on meanwhile.
//!
//! ```sh
//! cargo run --release --example serve
//! WGPU_BACKEND=vulkan cargo run --release --example serve    # a software GPU counts, too
//! ```

#[path = "application/ending.rs"]
mod ending;

use ending::ending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use wgpu_norm::norm::LayerNorm;
use wgpu_norm::{Engine, Parameters, Tensor};

/// A task may end on another thread than it began on.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const CLIENTS: usize = 4;
/// What each client asks for, one after another.
const REQUESTS: usize = 16;
const ROWS: usize = 1024;
const FEATURES: usize = 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    ending(run().await.map_err(|error| error as _))
}

async fn run() -> Outcome<()> {
    let engine = Engine::new_async().await?;
    println!("serving {}", engine.description());
    let input = Arc::new(input()?);
    // The first call compiles its kernels on the thread that makes it: better now than when clients wait.
    let expected = Arc::new(normalize(engine.clone(), Arc::clone(&input)).await?);
    check(&expected)?;

    let beats = Arc::new(AtomicU32::new(0));
    let heart = tokio::spawn(beat(Arc::clone(&beats)));
    let client = || tokio::spawn(client(engine.clone(), Arc::clone(&input), Arc::clone(&expected)));
    let clients: Vec<_> = (0..CLIENTS).map(|_| client()).collect();
    for client in clients {
        client.await??;
    }
    heart.abort();
    let beats = beats.load(Ordering::Relaxed);
    println!(
        "{CLIENTS} clients had {REQUESTS} answers each; the runtime's one thread did {beats} other things meanwhile"
    );
    if beats == 0 { Err("the runtime stood still".into()) } else { Ok(()) }
}

/// Every answer has the same bits.
async fn client(engine: Engine, input: Arc<Tensor>, expected: Arc<Tensor>) -> Outcome<()> {
    for request in 0..REQUESTS {
        if normalize(engine.clone(), Arc::clone(&input)).await? != *expected {
            return Err(format!("answer {request} differs from the first one").into());
        }
    }
    Ok(())
}

/// A call returns to the runtime while a GPU works. The CPU works in the call itself, so that goes where it may block.
async fn normalize(engine: Engine, input: Arc<Tensor>) -> Outcome<Tensor> {
    let norm = LayerNorm::new([FEATURES]);
    if engine.is_gpu() {
        return Ok(engine.forward_async(&norm, &input, &mut Parameters::default()).await?);
    }
    let work = move || engine.forward(&norm, &input, &mut Parameters::default());
    Ok(tokio::task::spawn_blocking(work).await??)
}

/// Anything else that the program has to do.
async fn beat(beats: Arc<AtomicU32>) {
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        beats.fetch_add(1, Ordering::Relaxed);
    }
}

fn input() -> wgpu_norm::Result<Tensor> {
    let value = |i: usize| (i as f32 * 0.37).sin() * 3.0 + 10.0;
    Tensor::from_f32([ROWS, FEATURES], (0..ROWS * FEATURES).map(value).collect())
}

/// Each row has a mean of zero.
fn check(output: &Tensor) -> Outcome<()> {
    let values = output.data().to_f32();
    let means = values.chunks(FEATURES).map(|row| row.iter().sum::<f32>() / FEATURES as f32);
    match means.map(f32::abs).fold(0f32, f32::max) {
        worst if worst < 1e-5 => Ok(()),
        worst => Err(format!("a row's mean is {worst:e}, expected 0").into()),
    }
}
