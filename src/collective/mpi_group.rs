use super::exchange::listed;
use super::group::{Group, ProcessGroup};
use crate::error::{Error, Result};
use mpi::Threading;
use mpi::datatype::PartitionMut;
use mpi::environment::{is_initialized, threading_support};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Numbers of a message that travel at once: which operation it belongs to, how many numbers it has, and the first of
/// these. Before the rest, ranks know that they mean the same and how much it is: with MPI a wrong length ends the job.
const ENVELOPE: usize = 256;
/// Those of the message itself.
const FIRST: usize = ENVELOPE - 2;
/// Below [`Threading::Multiple`] one thread at a time may call MPI, and each group has one.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// All ranks of MPI's world, as `mpirun` started them.
///
/// MPI has to be initialized with at least [`Threading::Serialized`], since a thread of its own talks to the other
/// ranks; meanwhile no other thread may use MPI, unless it was initialized with [`Threading::Multiple`]. Ranks make
/// their groups together, and below `Multiple` call several groups in the same order, also from several threads: a call
/// waits until the one before it is over, whichever group's it is.
///
/// A rank that waits longer than `timeout`, for the group or in one of its calls, gets an error that names the operation,
/// as does every later call; without a timeout it waits as long as MPI does. After such an error MPI is still waiting:
/// the process has to end by `abort` of a communicator, since `MPI_Finalize`, which a `Universe` calls when it is
/// dropped, would wait as well. When a process dies, MPI's own error handler decides, which ends the job.
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
    let timeout = timeout.into();
    let (calls, received) = channel::<Message>();
    let (answers, results) = channel();
    let (here, place) = channel();
    let talk = move || {
        let lock = (threading < Threading::Multiple).then(locked);
        let communicator = communicator().duplicate();
        drop(lock);
        let ranks = (communicator.rank(), communicator.size());
        if here.send(ranks).is_ok() {
            answer(&communicator, threading, &received, &answers);
        }
        // Freeing it is collective, and the others may be gone.
        std::mem::forget(communicator);
    };
    let thread = std::thread::Builder::new().name("wgpu-norm mpi".into()).spawn(talk);
    thread.map_err(|error| failed(error.to_string()))?;
    let (rank, world_size) = received_within(&place, timeout).map_err(failed)?;
    let place = |n: i32| usize::try_from(n).unwrap_or(0);
    let line = Mutex::new(Some(Line { calls, results }));
    Ok(Group::new(MpiRank { rank: place(rank), world_size: place(world_size), timeout, line }))
}

fn locked() -> MutexGuard<'static, ()> {
    // It guards nothing that a panic could have left half done.
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the other thread has to say, or why it says nothing.
fn received_within<T>(receiver: &Receiver<T>, timeout: Option<Duration>) -> std::result::Result<T, String> {
    let gone = "the thread that talks to the other ranks is gone";
    match timeout {
        None => receiver.recv().map_err(|_| gone.into()),
        Some(timeout) => receiver.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => format!("waited {timeout:?} for the other ranks"),
            RecvTimeoutError::Disconnected => gone.into(),
        }),
    }
}

/// What a rank gives to an operation.
struct Message {
    /// A number for the operation's name, never 0.
    operation: f64,
    values: Vec<f64>,
}

impl Message {
    fn new(operation: &str, values: &[f64]) -> Self {
        // FNV-1a, of which a number of 52 bits keeps the most.
        let hash = operation
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        #[expect(clippy::cast_precision_loss, reason = "52 bits fit")]
        let operation = (hash >> 12 | 1) as f64;
        Self { operation, values: values.to_vec() }
    }
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
    calls: Sender<Message>,
    results: Receiver<Gathered>,
}

/// What every rank gave, or the ranks that call something else.
type Gathered = std::result::Result<Vec<Vec<f64>>, Vec<usize>>;

/// Answers calls until there is nobody to call.
fn answer(
    communicator: &SimpleCommunicator,
    threading: Threading,
    calls: &Receiver<Message>,
    answers: &Sender<Gathered>,
) {
    for message in calls {
        let lock = (threading < Threading::Multiple).then(locked);
        let gathered = gather(communicator, &message);
        drop(lock);
        if answers.send(gathered).is_err() {
            return;
        }
    }
}

/// What every rank gave: the envelopes first, then what did not fit in, if anything did not.
#[expect(clippy::cast_precision_loss, reason = "no message has 2^53 numbers")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "they are lengths")]
fn gather(communicator: &SimpleCommunicator, Message { operation, values }: &Message) -> Gathered {
    let ranks = usize::try_from(communicator.size()).unwrap_or(0);
    let (first, rest) = values.split_at(values.len().min(FIRST));
    let mut envelope = vec![*operation, values.len() as f64];
    envelope.extend(first);
    envelope.resize(ENVELOPE, 0.0);
    let mut envelopes = vec![0.0; ENVELOPE * ranks];
    communicator.all_gather_into(&envelope[..], &mut envelopes[..]);

    // All ranks see the same envelopes, so all of them stop here or none.
    let others = |of: f64| {
        let different = envelopes.chunks_exact(ENVELOPE).enumerate().filter(move |(_, envelope)| envelope[0] != of);
        different.map(|(rank, _)| rank).collect::<Vec<_>>()
    };
    if !others(*operation).is_empty() {
        return Err(others(*operation));
    }
    let lens: Vec<usize> = envelopes.chunks_exact(ENVELOPE).map(|envelope| envelope[1] as usize).collect();
    let rests: Vec<usize> = lens.iter().map(|len| len.saturating_sub(FIRST)).collect();
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
    let messages = each.map(|((envelope, len), rest)| {
        let (own, others) = left.split_at(rest);
        left = others;
        [&envelope[2..2 + len.min(FIRST)], own].concat()
    });
    Ok(messages.collect())
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
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Line { calls, results }) = line.take() else {
            return Err(failed("an earlier call did not end, and the group with it".into()));
        };
        // Where the thread is gone, nothing will be received.
        let _ = calls.send(Message::new(operation, values));
        let result = received_within(&results, self.timeout)
            .map_err(|message| failed(format!("rank {} {message}", self.rank)))?;
        *line = Some(Line { calls, results });
        result.map_err(|others| failed(format!("{} called something else", listed(&others))))
    }
}
