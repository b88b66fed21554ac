use super::group::{Group, ProcessGroup};
use crate::error::{Error, Result};
use mpi::Threading;
use mpi::datatype::PartitionMut;
use mpi::environment::{is_initialized, threading_support};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Numbers of a message that travel at once, the first of which is how many there are. Beyond it, whatever ranks
/// expect of each other, they first know each other's lengths: with MPI a wrong one ends the job.
const ENVELOPE: usize = 256;

/// All ranks of MPI's world, as `mpirun` started them.
///
/// MPI has to be initialized with at least [`Threading::Serialized`], since a thread of its own talks to the other
/// ranks; meanwhile no other thread may use MPI, unless it was initialized with [`Threading::Multiple`]. Ranks make
/// their groups together.
///
/// A rank that waits longer than `timeout` gets an error that names the operation, as does every later call; without
/// a timeout it waits as long as MPI does. When a process dies, MPI's own error handler decides, which ends the job.
///
/// ```no_run
/// use std::time::Duration;
/// use wgpu_norm::collective::{mpi, mpi_world};
///
/// let universe = mpi::initialize_with_threading(mpi::Threading::Serialized);
/// let group = mpi_world(Duration::from_secs(60))?;
/// println!("rank {} of {}", group.rank(), group.world_size());
/// # drop(universe);
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
///
/// # Errors
///
/// When MPI is not initialized, or for fewer threads.
pub fn mpi_world(timeout: impl Into<Option<Duration>>) -> Result<Group> {
    mpi_communicator(SimpleCommunicator::world, timeout)
}

/// The ranks of a communicator, as [`mpi_world`]. `communicator` is called on the thread that talks to the others; what
/// it gives is duplicated, so that messages of the application's do not mix with those of the group.
///
/// # Errors
///
/// As [`mpi_world`].
pub fn mpi_communicator(
    communicator: impl FnOnce() -> SimpleCommunicator + Send + 'static,
    timeout: impl Into<Option<Duration>>,
) -> Result<Group> {
    let failed = |message: String| Error::Collective { operation: "MPI group".into(), message };
    if !is_initialized() {
        return Err(failed("MPI is not initialized; call mpi::initialize_with_threading first".into()));
    }
    let threading = threading_support();
    if threading < Threading::Serialized {
        return Err(failed(format!("expected MPI initialized with Threading::Serialized or more, got {threading:?}")));
    }
    let (calls, received) = channel::<Vec<f64>>();
    let (answers, results) = channel();
    let (here, place) = channel();
    let talk = move || {
        let communicator = communicator().duplicate();
        let ranks = (communicator.rank(), communicator.size());
        if here.send(ranks).is_ok() {
            answer(&communicator, &received, &answers);
        }
        // Freeing it is collective, and the others may be gone.
        std::mem::forget(communicator);
    };
    let thread = std::thread::Builder::new().name("wgpu-norm mpi".into()).spawn(talk);
    thread.map_err(|error| failed(error.to_string()))?;
    let (rank, world_size) = place.recv().map_err(|error| failed(error.to_string()))?;
    let place = |n: i32| usize::try_from(n).unwrap_or(0);
    let line = Mutex::new(Some(Line { calls, results }));
    Ok(Group::new(MpiRank { rank: place(rank), world_size: place(world_size), timeout: timeout.into(), line }))
}

struct MpiRank {
    rank: usize,
    world_size: usize,
    timeout: Option<Duration>,
    /// None after a call that did not end: its answer may still come, and would be taken for another's.
    line: Mutex<Option<Line>>,
}

/// To and from the thread that talks to the other ranks.
struct Line {
    calls: Sender<Vec<f64>>,
    results: Receiver<Vec<Vec<f64>>>,
}

/// Answers calls until there is nobody to call.
fn answer(communicator: &SimpleCommunicator, calls: &Receiver<Vec<f64>>, answers: &Sender<Vec<Vec<f64>>>) {
    for values in calls {
        if answers.send(gather(communicator, &values)).is_err() {
            return;
        }
    }
}

/// What every rank gave: the envelopes first, then what did not fit in, if anything did not.
#[expect(clippy::cast_precision_loss, reason = "no message has 2^53 numbers")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "they are lengths")]
fn gather(communicator: &SimpleCommunicator, values: &[f64]) -> Vec<Vec<f64>> {
    let ranks = usize::try_from(communicator.size()).unwrap_or(0);
    let (first, rest) = values.split_at(values.len().min(ENVELOPE - 1));
    let mut envelope = vec![values.len() as f64];
    envelope.extend(first);
    envelope.resize(ENVELOPE, 0.0);
    let mut envelopes = vec![0.0; ENVELOPE * ranks];
    communicator.all_gather_into(&envelope[..], &mut envelopes[..]);

    let lens: Vec<usize> = envelopes.chunks_exact(ENVELOPE).map(|envelope| envelope[0] as usize).collect();
    let rests: Vec<usize> = lens.iter().map(|len| len.saturating_sub(ENVELOPE - 1)).collect();
    let mut all_rests = vec![0.0; rests.iter().sum()];
    if !all_rests.is_empty() {
        let counts: Vec<i32> = rests.iter().map(|rest| i32::try_from(*rest).unwrap_or(i32::MAX)).collect();
        let displacements: Vec<i32> =
            counts.iter().scan(0i32, |at, count| Some(std::mem::replace(at, at.saturating_add(*count)))).collect();
        let mut partition = PartitionMut::new(&mut all_rests[..], counts, displacements);
        communicator.all_gather_varcount_into(rest, &mut partition);
    }
    let mut left = &all_rests[..];
    let each = envelopes.chunks_exact(ENVELOPE).zip(lens).zip(rests);
    each.map(|((envelope, len), rest)| {
        let (own, others) = left.split_at(rest);
        left = others;
        [&envelope[1..1 + len.min(ENVELOPE - 1)], own].concat()
    })
    .collect()
}

impl ProcessGroup for MpiRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn all_gather(&self, operation: &str, values: &[f64]) -> Result<Vec<Vec<f64>>> {
        let failed = |message: String| Error::Collective { operation: operation.to_owned(), message };
        // Whoever panicked with the line in hand took it out first.
        let mut line = self.line.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(Line { calls, results }) = line.take() else {
            return Err(failed("an earlier call did not end, and the group with it".into()));
        };
        let gone = |_| failed("the thread that talks to the other ranks is gone".into());
        calls.send(values.to_vec()).map_err(|_| gone(()))?;
        let result = match self.timeout {
            None => results.recv().map_err(|_| gone(()))?,
            Some(timeout) => results.recv_timeout(timeout).map_err(|error| match error {
                RecvTimeoutError::Timeout => {
                    failed(format!("rank {} waited {timeout:?} for the other ranks", self.rank))
                }
                RecvTimeoutError::Disconnected => gone(()),
            })?,
        };
        *line = Some(Line { calls, results });
        Ok(result)
    }
}
