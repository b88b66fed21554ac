//! Trains two small classifiers of handwritten digits, one with BatchNorm and one with LayerNorm, on the best engine
//! that is here and once more on another, from the same seed; the loss curves and accuracies have to agree.
//!
//! ```sh
//! cargo run --release --features checkpoint --example train                        # draws target/train.svg
//! WGPU_BACKEND=vulkan cargo run --release --features checkpoint --example train    # a software GPU counts, too
//! ```

mod data;
#[path = "../application/ending.rs"]
mod ending;
mod network;
mod plot;
mod training;

use data::Digits;
use ending::ending;
use std::path::PathBuf;
use training::{EPOCHS, Kind, LEAST_ACCURACY, Run, TOLERANCE, distance, train};
use wgpu_norm::checkpoint::{Checkpoint, save};
use wgpu_norm::{Choice, Engine};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> std::process::ExitCode {
    ending(run())
}

fn run() -> Outcome<()> {
    let picture = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("target/train.svg"), PathBuf::from);
    let engines = engines()?;
    let (training_set, test_set) = Digits::load()?;
    let style = indicatif::ProgressStyle::with_template("{wide_bar} {pos}/{len} epochs, {msg}")?;
    let bar = indicatif::ProgressBar::new((Kind::ALL.len() * engines.len() * EPOCHS) as u64).with_style(style);
    let mut runs = Vec::new();
    for kind in Kind::ALL {
        for engine in &engines {
            bar.set_message(format!("{} on {}", kind.name(), engine.name()));
            runs.push(train(kind, engine, (&training_set, &test_set), &|| bar.inc(1))?);
        }
    }
    bar.finish_and_clear();
    if let Some(folder) = picture.parent() {
        std::fs::create_dir_all(folder)?;
    }
    plot::draw(&runs, &picture)?;
    runs.iter().for_each(report);
    println!("drew {}", picture.display());
    runs.chunks(engines.len()).try_for_each(agree)?;
    runs.into_iter().filter(|run| run.kind == Kind::Batch).try_for_each(|run| comes_back(run, &test_set))
}

/// The best GPU and the CPU; without a GPU the CPU and the f64 reference.
fn engines() -> Outcome<[Engine; 2]> {
    let best = Engine::new()?;
    let other = if best.is_gpu() { Choice::Cpu } else { Choice::Reference };
    println!("training {}, and to compare on {}", best.description(), other.name());
    Ok([best, pollster::block_on(Engine::open(&other))?])
}

fn report(run: &Run) {
    let (first, last) = (run.losses.first().unwrap_or(&0.0), run.losses.last().unwrap_or(&0.0));
    println!(
        "{:11} on {}: loss {first:.4} to {last:.4}, {:.1} % of the test set",
        run.kind.name(),
        run.engine,
        100.0 * run.accuracy
    );
}

/// Two runs of a network have the same curve, and it learned something.
fn agree(runs: &[Run]) -> Outcome<()> {
    let [one, other] = runs else { return Err("two engines were asked for".into()) };
    let largest = distance(one, other);
    println!("{}: the curves differ by {largest:.1e} at most, {TOLERANCE:.0e} is tolerated", one.kind.name());
    if largest > TOLERANCE || (one.accuracy - other.accuracy).abs() > 0.02 {
        return Err(format!("{}: {} and {} do not agree", one.kind.name(), one.engine, other.engine).into());
    }
    if one.accuracy < LEAST_ACCURACY {
        return Err(format!("{}: expected {LEAST_ACCURACY} of the test set", one.kind.name()).into());
    }
    Ok(())
}

/// A saved layer that is loaded into a new one evaluates to the same bits.
fn comes_back(mut run: Run, test_set: &Digits) -> Outcome<()> {
    let scores = run.network.scores(test_set)?;
    let file = std::env::temp_dir().join(format!("wgpu-norm-train-{}.safetensors", std::process::id()));
    save(&file, &run.network.norm.state_dict("norm.")?)?;
    let mut fresh = run.kind.norm(run.network.norm.engine())?;
    let loaded = Checkpoint::open(&file).and_then(|checkpoint| checkpoint.load(&mut fresh, "norm.", true));
    std::fs::remove_file(&file)?;
    loaded?;
    run.network.norm = fresh;
    if run.network.scores(test_set)? != scores {
        return Err("a layer that was saved and loaded evaluates to other bits".into());
    }
    println!("saved, loaded and evaluated on {}: the same bits", run.engine);
    Ok(())
}
