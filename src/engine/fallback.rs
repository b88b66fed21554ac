//! What happens when a GPU fails: the CPU repeats the pass, and the engine says so.

use super::{Backend, Engine};
use crate::error::{Error, Result};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Why the CPU last stepped in; shared by an engine's clones.
#[derive(Debug, Clone, Default)]
pub(super) struct Fallback(Arc<Mutex<Option<Error>>>);

impl Fallback {
    fn note(&self, error: &Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
    }

    fn last(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Engine {
    /// What the GPU last failed with before the CPU repeated the pass, if it ever did: `None` says that everything so
    /// far was computed where [`name`](Self::name) says. Clones share it, and so do layers on this engine.
    ///
    /// The CPU steps in where [`Error::is_of_device`] holds: the device was lost, has no memory, does not compile a
    /// kernel or does not answer. Passes with other ranks of a group are never repeated, since those cannot know.
    ///
    /// ```
    /// let engine = wgpu_norm::Engine::new()?;
    /// assert_eq!(engine.last_fallback(), None);
    /// # Ok::<(), wgpu_norm::Error>(())
    /// ```
    #[must_use]
    pub fn last_fallback(&self) -> Option<Error> {
        self.fallback.as_ref().and_then(Fallback::last)
    }

    /// The same engine, which gives a GPU's failure back as an error instead of repeating the pass on the CPU.
    #[must_use]
    pub fn without_fallback(mut self) -> Self {
        self.fallback = None;
        self
    }

    /// The same engine with another limit on how long a GPU may take over a pass, five minutes at first. Beyond it a
    /// pass fails with [`Error::TimedOut`]. It bounds the wait for the result: not a driver that computes inside the
    /// submission, or waits there for earlier work, and not a browser, which drives its devices itself.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        if let Backend::Gpu { gpu, .. } = &mut self.backend {
            *gpu = gpu.clone().within(limit);
        }
        self
    }

    /// Takes down a failure after which the CPU is to step in, or gives it back where it is not.
    pub(super) fn excuse(&self, error: Error) -> Result<()> {
        match &self.fallback {
            Some(fallback) if error.is_of_device() => {
                log::warn!("{}: {error}; the CPU steps in", self.name);
                fallback.note(&error);
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// The CPU, to step in for a device that failed like this; or the failure, where it is not to.
    pub(crate) fn instead_after(&self, error: Error) -> Result<Self> {
        self.excuse(error).map(|()| Self { backend: Backend::Cpu, ..self.clone() })
    }
}
