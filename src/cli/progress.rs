//! Progress on a terminal, and nowhere else.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;

/// A bar of so many steps; hidden where nobody watches.
pub(super) fn bar(steps: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(steps);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar
}
