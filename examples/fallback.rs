//! One program with a GPU and without: where the application gets no device, it says why and goes on on the CPU.
//!
//! ```sh
//! cargo run --release --example fallback                        # on the application's own device
//! cargo run --release --example fallback -- --no-gpu            # on the CPU, because it was told to
//! WGPU_BACKEND=dx12 cargo run --release --example fallback      # on the CPU, where there is no such backend
//! ```

#[path = "application/device.rs"]
mod device;
#[path = "application/ending.rs"]
mod ending;

use device::own_device;
use ending::ending;
use wgpu_norm::norm::RmsNorm;
use wgpu_norm::{Choice, Engine, Parameters, Tensor};

fn main() -> std::process::ExitCode {
    ending(run())
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let engine = pollster::block_on(engine(std::env::args().any(|argument| argument == "--no-gpu")))?;
    println!("normalizing {}", if engine.is_gpu() { format!("on {}", engine.name()) } else { "on the CPU".into() });

    let input = Tensor::from_f32([1, 4], vec![1.0, 2.0, 3.0, 4.0])?;
    let output = engine.forward(&RmsNorm::new([4]), &input, &mut Parameters::default())?.data().to_f32();
    let mean_square = output.iter().map(|y| y * y).sum::<f32>() / 4.0;
    println!("{output:?} has a mean square of {mean_square:.4}");
    if (mean_square - 1.0).abs() > 1e-5 {
        return Err(format!("expected a mean square of 1, got {mean_square}").into());
    }
    Ok(())
}

/// An engine on the application's device, or on the CPU.
async fn engine(no_gpu: bool) -> wgpu_norm::Result<Engine> {
    if no_gpu {
        return Engine::open(&Choice::Cpu).await;
    }
    match own_device().await {
        Ok((device, queue)) => Ok(Engine::with_device(&device, &queue)),
        Err(error) => {
            println!("no GPU: {error}");
            Engine::open(&Choice::Cpu).await
        }
    }
}
