use super::exchange::listed;
use super::group::{Group, ProcessGroup};
use crate::error::{Error, Result};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long ranks of a [`local`] group wait for each other.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// The ranks of a group within this process, one for each device or thread: nothing but memory between them.
///
/// Each rank's calls block until all others have made theirs, so each belongs to a thread of its own.
///
/// ```
/// use wgpu_norm::collective::local;
///
/// let groups = local(3);
/// assert_eq!((groups[2].rank(), groups[2].world_size()), (2, 3));
/// let sums: Vec<f64> = std::thread::scope(|scope| {
///     // Each thread owns its rank, which the others miss when the thread ends.
///     let ranks = groups.into_iter().map(|group| {
///         scope.spawn(move || group.all_gather("sum", &[group.rank() as f64]).map(|all| all.concat().iter().sum()))
///     });
///     ranks.collect::<Vec<_>>().into_iter().map(|rank| rank.join().expect("no rank panics")).collect::<Result<_, _>>()
/// })?;
/// assert_eq!(sums, [3.0; 3]);
/// # Ok::<(), wgpu_norm::Error>(())
/// ```
#[must_use]
pub fn local(world_size: usize) -> Vec<Group> {
    local_with_timeout(world_size, TIMEOUT)
}

/// As [`local`], where ranks wait for each other so long.
#[must_use]
pub fn local_with_timeout(world_size: usize, timeout: Duration) -> Vec<Group> {
    let nobody = || vec![false; world_size];
    let meeting = Meeting { slots: vec![None; world_size], inside: nobody(), gone: nobody(), ..Meeting::default() };
    let shared = Arc::new(Shared { meeting: Mutex::new(meeting), changed: Condvar::new(), timeout });
    (0..world_size).map(|rank| Group::new(LocalRank { rank, world_size, shared: shared.clone() })).collect()
}

struct LocalRank {
    rank: usize,
    world_size: usize,
    shared: Arc<Shared>,
}

struct Shared {
    meeting: Mutex<Meeting>,
    changed: Condvar,
    timeout: Duration,
}

/// The gather that is under way, and the last one. A rank gives for the next only after it took from the last, so
/// one place for each is enough.
#[derive(Default)]
struct Meeting {
    /// What each rank gave so far.
    slots: Vec<Option<Given>>,
    /// What all gave to the last gather, and how many gathers there were.
    result: Arc<Vec<Given>>,
    finished: u64,
    /// Ranks in a call that has not taken its result yet.
    inside: Vec<bool>,
    /// Ranks without a handle.
    gone: Vec<bool>,
    /// Why there will be no more gathers.
    broken: Option<Error>,
}

/// What a rank gave, and to which operation.
#[derive(Clone)]
struct Given {
    operation: String,
    values: Vec<f64>,
}

impl Shared {
    /// A rank that panicked elsewhere has left nothing half done here.
    fn meeting(&self) -> MutexGuard<'_, Meeting> {
        self.meeting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for news; without a deadline, where it lies beyond the clock's range, as long as it takes.
    fn wait<'m>(&self, meeting: MutexGuard<'m, Meeting>, deadline: Option<Instant>) -> MutexGuard<'m, Meeting> {
        let Some(deadline) = deadline else {
            return self.changed.wait(meeting).unwrap_or_else(PoisonError::into_inner);
        };
        let left = deadline.saturating_duration_since(Instant::now());
        self.changed.wait_timeout(meeting, left).unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Meeting {
    /// Ranks that have not given yet.
    fn missing(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().enumerate().filter(|(_, slot)| slot.is_none()).map(|(rank, _)| rank)
    }

    /// Why the gather cannot be finished, if it is past its `deadline` or a rank that is missing is gone.
    fn obstacle(&self, operation: &str, deadline: Option<Instant>, timeout: Duration) -> Option<Error> {
        if let Some(broken) = &self.broken {
            return Some(broken.clone());
        }
        let gone: Vec<usize> = self.missing().filter(|rank| self.gone[*rank]).collect();
        let missing: Vec<usize> = self.missing().collect();
        let message = match (gone.is_empty(), deadline.is_some_and(|deadline| Instant::now() >= deadline)) {
            (false, _) => format!("{} left the group", listed(&gone)),
            (true, true) => format!("{} did not arrive within {timeout:?}", listed(&missing)),
            (true, false) => return None,
        };
        Some(Error::Collective { operation: operation.to_owned(), message })
    }
}

impl ProcessGroup for LocalRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn all_gather(&self, operation: &str, values: &[f64]) -> Result<Vec<Vec<f64>>> {
        let Shared { changed, timeout, .. } = &*self.shared;
        let deadline = Instant::now().checked_add(*timeout);
        let mut meeting = self.shared.meeting();
        if let Some(broken) = &meeting.broken {
            return Err(broken.clone());
        }
        let round = meeting.finished;
        if meeting.inside[self.rank] {
            let message = format!("rank {} is in another call already", self.rank);
            return Err(Error::Collective { operation: operation.to_owned(), message });
        }
        meeting.inside[self.rank] = true;
        meeting.slots[self.rank] = Some(Given { operation: operation.to_owned(), values: values.to_vec() });
        if meeting.missing().next().is_none() {
            meeting.result = Arc::new(meeting.slots.iter_mut().filter_map(Option::take).collect());
            meeting.finished += 1;
            changed.notify_all();
        }
        while meeting.finished == round {
            if let Some(error) = meeting.obstacle(operation, deadline, *timeout) {
                meeting.broken.get_or_insert_with(|| error.clone());
                changed.notify_all();
                return Err(error);
            }
            meeting = self.shared.wait(meeting, deadline);
        }
        let result = meeting.result.clone();
        meeting.inside[self.rank] = false;
        drop(meeting);
        same_operation(&result)?;
        Ok(result.iter().map(|given| given.values.clone()).collect())
    }
}

/// Checks that all ranks met for the same thing.
fn same_operation(all: &[Given]) -> Result<()> {
    let Some(first) = all.first() else { return Ok(()) };
    if all.iter().all(|given| given.operation == first.operation) {
        return Ok(());
    }
    let calls: Vec<String> =
        all.iter().enumerate().map(|(rank, given)| format!("rank {rank} calls {}", given.operation)).collect();
    Err(Error::Collective { operation: first.operation.clone(), message: calls.join(", ") })
}

impl Drop for LocalRank {
    fn drop(&mut self) {
        self.shared.meeting().gone[self.rank] = true;
        self.shared.changed.notify_all();
    }
}
