//! Draws for each normalization which elements share a statistic, as a block of samples, channels and positions: the
//! figure of the `GroupNorm` paper ([arXiv 1803.08494](https://arxiv.org/abs/1803.08494)), from the plans themselves.
//!
//! ```sh
//! cargo run --example cubes              # draws docs/cubes/*.svg
//! cargo run --example cubes -- target    # draws target/*.svg
//! ```

mod block;
#[path = "../application/ending.rs"]
mod ending;
mod norms;
mod picture;

use ending::ending;
use std::path::{Path, PathBuf};

fn main() -> std::process::ExitCode {
    ending(run())
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let ours = || Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cubes");
    let folder = std::env::args_os().nth(1).map_or_else(ours, PathBuf::from);
    std::fs::create_dir_all(&folder)?;
    let cubes = norms::cubes()?;
    for cube in &cubes {
        std::fs::write(folder.join(cube.file_name()), picture::draw(cube))?;
    }
    println!("drew {} cubes in {}", cubes.len(), folder.display());
    Ok(())
}
