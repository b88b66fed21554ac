//! A program that is asked to end, and leaves nothing behind.

use super::{Failure, INTERRUPTED as STATUS};
use signal_hook::consts::TERM_SIGNALS;
use signal_hook::flag;
use std::io::{Error, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is said of a file that does not come about.
pub(super) const INTERRUPTED: &str = "interrupted";

/// Whether Ctrl-C was pressed, or the program asked to end in another way.
#[derive(Clone)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From here on a signal raises the flag; a second one ends the program where it is.
    pub(super) fn listen() -> Result<Self, Failure> {
        let raised = Arc::new(AtomicBool::new(false));
        for &signal in TERM_SIGNALS {
            flag::register_conditional_shutdown(signal, STATUS.into(), raised.clone())
                .and_then(|_| flag::register(signal, raised.clone()))
                .map_err(|error| Failure::Unusable(format!("signal {signal}: {error}")))?;
        }
        Ok(Self(raised))
    }

    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.is_raised() { Err(Failure::Interrupted) } else { Ok(()) }
    }

    fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// A file that takes nothing more once the flag is raised.
    pub(super) fn guarding<'a>(&'a self, file: &'a mut dyn Write) -> Guarded<'a> {
        Guarded { interrupt: self, file }
    }
}

/// See [`Interrupt::guarding`].
pub(super) struct Guarded<'a> {
    interrupt: &'a Interrupt,
    file: &'a mut dyn Write,
}

/// Bytes that are written before the flag is looked at again.
const AT_ONCE: usize = 4 << 20;

impl Write for Guarded<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.interrupt.is_raised() {
            // Not ErrorKind::Interrupted, after which writers try again.
            return Err(Error::other(INTERRUPTED));
        }
        self.file.write(&bytes[..bytes.len().min(AT_ONCE)])
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
