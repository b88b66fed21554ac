//! The program `wgpu-norm`; see the README for its commands.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
