//! Progress on a terminal, and nowhere else.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;

/// A bar of so many steps; hidden where nobody watches.
pub(super) fn bar(steps: u64) -> ProgressBar {
    styled(steps, "{bar:40} {pos}/{len} {msg}")
}

/// A bar of so many bytes, with the throughput; hidden where nobody watches.
pub(super) fn bar_of_bytes(bytes: u64) -> ProgressBar {
    styled(bytes, "{bar:40} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} {msg}")
}

fn styled(steps: u64, template: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(steps);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
