//! A case whose batch is spread over the ranks of a group: a thread for each, or, where there are none, one after the
//! other until each knows what the others had to say.

use super::attributes::Attributes;
use super::safetensors_file::TensorFile;
use std::ops::Range;
use wgpu_norm::collective::Group;
#[cfg(not(target_family = "wasm"))]
use wgpu_norm::collective::local;
use wgpu_norm::{Data, Tensor};

/// Each rank is a thread, and hears what all others have to say.
const MOST_RANKS: usize = 1024;

/// The samples of each rank.
pub(super) struct Ranks {
    samples: Vec<Range<usize>>,
}

impl Ranks {
    /// Those of the case, if it has any.
    pub(super) fn read(file: &TensorFile, attributes: &Attributes, input: &Tensor) -> Result<Option<Self>, String> {
        let Some(world_size) = attributes.world_size()? else { return Ok(None) };
        let splits = file.integers("splits")?.ok_or("tensor splits: missing, it says which samples each rank has")?;
        if !(1..=MOST_RANKS).contains(&world_size) {
            return Err(format!("attribute world_size: expected 1 to {MOST_RANKS}, got {world_size}"));
        }
        if splits.len() != world_size {
            return Err(format!(
                "tensor splits: expected {world_size} numbers, as world_size says, got {}",
                splits.len()
            ));
        }
        let mut samples = Vec::with_capacity(splits.len());
        let mut first = 0usize;
        for split in splits {
            let more = usize::try_from(split)
                .map_err(|_| format!("tensor splits: expected numbers from 0 on, got {split}"))?;
            let end = first.saturating_add(more);
            samples.push(first..end);
            first = end;
        }
        let all = input.shape().first().copied().unwrap_or(0);
        if first != all {
            return Err(format!("tensor splits: expected {all} samples together, as input has, got {first}"));
        }
        Ok(Some(Self { samples }))
    }

    /// What each rank makes of its samples, all at once.
    #[cfg(not(target_family = "wasm"))]
    #[expect(clippy::unused_async, reason = "without threads ranks wait")]
    pub(super) async fn each<T: Send>(
        &self,
        rank: impl AsyncFn(&Group, Range<usize>) -> Result<T, String> + Sync,
    ) -> Result<Vec<T>, String> {
        let groups = local(self.samples.len());
        std::thread::scope(|scope| {
            let rank = &rank;
            let spawn = |(group, samples): (Group, &Range<usize>)| {
                let samples = samples.clone();
                let run = move || pollster::block_on(rank(&group, samples));
                // Where there is no thread to be had, the others hear that its rank is gone.
                std::thread::Builder::new()
                    .spawn_scoped(scope, run)
                    .map_err(|error| format!("a rank's thread: {error}"))
            };
            let threads: Vec<_> = groups.into_iter().zip(&self.samples).map(spawn).collect();
            let join = |thread: Result<std::thread::ScopedJoinHandle<'_, _>, String>| {
                thread?.join().unwrap_or_else(|_| Err("a rank panicked".into()))
            };
            all_or_cause(threads.into_iter().map(join).collect())
        })
    }

    /// What each rank makes of its samples, one after the other. A rank stops where the others have not spoken yet, and
    /// begins again when they have.
    #[cfg(target_family = "wasm")]
    pub(super) async fn each<T>(
        &self,
        rank: impl AsyncFn(&Group, Range<usize>) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let minutes = rehearsal::Minutes::default();
        loop {
            let spoken = minutes.len();
            let mut results = Vec::with_capacity(self.samples.len());
            for (i, samples) in self.samples.iter().enumerate() {
                let group = Group::new(rehearsal::Rank::new(i, self.samples.len(), &minutes));
                results.push(rank(&group, samples.clone()).await);
            }
            if minutes.len() == spoken {
                return all_or_cause(results);
            }
        }
    }
}

/// What the ranks gave, or why one of them failed: what the others say of it is less than what it says itself.
fn all_or_cause<T>(results: Vec<Result<T, String>>) -> Result<Vec<T>, String> {
    let is_own = |error: &String| !error.contains("gave up") && !error.contains("left the group");
    match results.iter().find_map(|result| result.as_ref().err().filter(|error| is_own(error))) {
        Some(cause) => Err(cause.clone()),
        None => results.into_iter().collect(),
    }
}

/// The same values as f32, which holds all of them.
pub(super) fn widened(tensor: Option<&Tensor>) -> Result<Option<Tensor>, String> {
    let wide = |tensor: &Tensor| Tensor::from_f32(tensor.shape(), tensor.data().to_f32());
    tensor.map(wide).transpose().map_err(|error| error.to_string())
}

/// Ranks without threads.
#[cfg(target_family = "wasm")]
mod rehearsal {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
    use wgpu_norm::collective::ProcessGroup;
    use wgpu_norm::{Error, Result};

    /// What the ranks gave so far, gather by gather.
    #[derive(Clone, Default)]
    pub(super) struct Minutes(Arc<Mutex<Vec<Vec<Vec<f64>>>>>);

    impl Minutes {
        fn gathers(&self) -> MutexGuard<'_, Vec<Vec<Vec<f64>>>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// Contributions that are known.
        pub(super) fn len(&self) -> usize {
            self.gathers().iter().map(Vec::len).sum()
        }
    }

    /// A rank that gathers what is in the minutes, and adds to them where they end.
    pub(super) struct Rank {
        rank: usize,
        world_size: usize,
        minutes: Minutes,
        /// Gathers that it has taken part in.
        met: AtomicUsize,
    }

    impl Rank {
        pub(super) fn new(rank: usize, world_size: usize, minutes: &Minutes) -> Self {
            Self { rank, world_size, minutes: minutes.clone(), met: AtomicUsize::new(0) }
        }
    }

    impl ProcessGroup for Rank {
        fn rank(&self) -> usize {
            self.rank
        }

        fn world_size(&self) -> usize {
            self.world_size
        }

        fn all_gather(&self, operation: &str, values: &[f64]) -> Result<Vec<Vec<f64>>> {
            let mut gathers = self.minutes.gathers();
            let gather = self.met.fetch_add(1, Ordering::Relaxed);
            if gather == gathers.len() {
                gathers.push(Vec::with_capacity(self.world_size));
            }
            match gathers.get_mut(gather) {
                Some(all) if all.len() == self.world_size => return Ok(all.clone()),
                // Ranks come in their order.
                Some(all) if all.len() == self.rank => all.push(values.to_vec()),
                _ => {}
            }
            Err(Error::Collective { operation: operation.to_owned(), message: "the others have not come yet".into() })
        }
    }
}

/// Some of the samples of a tensor.
pub(super) fn samples(tensor: &Tensor, samples: Range<usize>) -> Result<Tensor, String> {
    let mut shape = tensor.shape().to_vec();
    let row: usize = shape.iter().skip(1).product();
    if let Some(first) = shape.first_mut() {
        *first = samples.len();
    }
    let values = &tensor.data().to_f64()[samples.start * row..samples.end * row];
    Tensor::new(shape, Data::from_f64(tensor.dtype(), values)).map_err(|error| error.to_string())
}

/// The samples of all ranks, one rank after the other, in a tensor like this one.
pub(super) fn joined(like: &Tensor, parts: &[&Tensor]) -> Result<Tensor, String> {
    let values: Vec<f64> = parts.iter().flat_map(|part| part.data().to_f64()).collect();
    Tensor::new(like.shape(), Data::from_f64(like.dtype(), &values)).map_err(|error| error.to_string())
}

/// The sum of the ranks' shares of a gradient, in the parameter's type.
pub(super) fn summed(parts: &[&Tensor], parameter: Option<&Tensor>) -> Result<Option<Tensor>, String> {
    let (Some(first), Some(parameter)) = (parts.first(), parameter) else { return Ok(None) };
    let mut sum = vec![0.0; first.data().len()];
    for part in parts {
        sum.iter_mut().zip(part.data().to_f64()).for_each(|(sum, share)| *sum += share);
    }
    let data = Data::from_f64(parameter.dtype(), &sum);
    Tensor::new(first.shape(), data).map(Some).map_err(|error| error.to_string())
}
