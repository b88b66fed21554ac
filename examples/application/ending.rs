//! How an example ends.

use std::process::ExitCode;

/// Says what went wrong, in words for a person: an error that `main` returns is printed in its `Debug` form.
pub(crate) fn ending(result: Result<(), Box<dyn std::error::Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
