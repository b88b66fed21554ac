use crate::error::Result;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Ranks that can tell each other a few numbers: what a transport has to offer.
pub trait ProcessGroup: Send + Sync {
    /// Which of the ranks this is.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn world_size(&self) -> usize;

    /// What every rank gave, in the order of the ranks. Blocks until all have given it.
    ///
    /// Ranks may give different numbers of values; whether that makes sense is for the caller to say.
    ///
    /// # Errors
    ///
    /// When a rank is gone or does not come; `operation` is what the message names.
    fn all_gather(&self, operation: &str, values: &[f64]) -> Result<Vec<Vec<f64>>>;

    /// Blocks until every rank has come here.
    ///
    /// # Errors
    ///
    /// As [`all_gather`](Self::all_gather).
    fn barrier(&self) -> Result<()> {
        self.all_gather("barrier", &[]).map(drop)
    }
}

/// One rank's handle on a process group. Clones are the same rank.
#[derive(Clone)]
pub struct Group {
    ranks: Arc<dyn ProcessGroup>,
    /// Layers that were given the group.
    layers: Arc<AtomicU32>,
    /// Which of these this one is; 0 where there is no layer.
    layer: u32,
}

impl Group {
    /// A handle on a transport.
    pub fn new(ranks: impl ProcessGroup + 'static) -> Self {
        Self { ranks: Arc::new(ranks), layers: Arc::default(), layer: 0 }
    }

    /// Which of the ranks this is.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.ranks.rank()
    }

    /// How many ranks there are.
    #[must_use]
    pub fn world_size(&self) -> usize {
        self.ranks.world_size()
    }

    /// What every rank gave, in the order of the ranks.
    ///
    /// # Errors
    ///
    /// As [`ProcessGroup::all_gather`].
    pub fn all_gather(&self, operation: &str, values: &[f64]) -> Result<Vec<Vec<f64>>> {
        self.ranks.all_gather(operation, values)
    }

    /// Blocks until every rank has come here.
    ///
    /// # Errors
    ///
    /// As [`ProcessGroup::barrier`].
    pub fn barrier(&self) -> Result<()> {
        self.ranks.barrier()
    }

    /// A handle for one more layer. Ranks that take these in the same order give their layers the same numbers, by which
    /// they notice when they do not run the same one. [`Layer`](crate::layer::Layer)s take their own.
    #[must_use]
    pub fn for_layer(&self) -> Self {
        let layer = self.layers.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        Self { layer, ..self.clone() }
    }

    pub(super) fn number(&self) -> u32 {
        self.layer
    }

    /// Whether there is anybody to ask.
    pub(crate) fn has_peers(&self) -> bool {
        self.world_size() > 1
    }
}

impl Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("rank", &self.rank()).field("world_size", &self.world_size()).finish()
    }
}

impl PartialEq for Group {
    /// Whether both are handles on the same transport.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.ranks, &other.ranks)
    }
}
