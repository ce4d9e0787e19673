//! The table as its readers see it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crossbeam_channel::Sender;
use qtap_capture::{KernelTime, Pid};

use crate::Process;
use crate::environment::Environment;
use crate::stats::{Counters, Stats, increment};

/// A power of two: enough that workers hardly ever meet the writer in one shard.
const SHARDS: usize = 64;

/// One image of a process in the table.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) process: Arc<Process>,
    pub(crate) environment: Arc<Environment>,
    /// Not used for anything that happened before.
    pub(crate) from: KernelTime,
    pub(crate) ended: bool,
    /// When it ended, if an event told.
    pub(crate) until: KernelTime,
    /// Number of the image, never reused.
    pub(crate) serial: u64,
}

type Shard = HashMap<Pid, Vec<Image>>;

/// State shared by the writer and the readers.
#[derive(Debug)]
pub(crate) struct Shared {
    shards: [RwLock<Shard>; SHARDS],
    pub(crate) counters: Counters,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::default()),
            counters: Counters::default(),
        }
    }

    #[expect(clippy::indexing_slicing, reason = "the remainder is below the length")]
    const fn shard(&self, pid: Pid) -> &RwLock<Shard> {
        &self.shards[pid.0 as usize % SHARDS]
    }

    pub(crate) fn read(&self, pid: Pid) -> RwLockReadGuard<'_, Shard> {
        self.shard(pid).read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self, pid: Pid) -> RwLockWriteGuard<'_, Shard> {
        self.shard(pid).write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest image of `pid`, ended or not.
    pub(crate) fn newest(&self, pid: Pid) -> Option<Image> {
        self.read(pid).get(&pid)?.last().cloned()
    }

    /// The image that ran as `pid` at `time`.
    pub(crate) fn at(&self, pid: Pid, time: KernelTime) -> Option<Image> {
        self.read(pid)
            .get(&pid)?
            .iter()
            .rev()
            .find(|image| image.from <= time)
            .cloned()
    }

    /// All images that have not ended, in no order.
    pub(crate) fn running(&self) -> Vec<Arc<Process>> {
        let mut processes = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            let newest = shard.values().filter_map(|images| images.last());
            processes.extend(
                newest
                    .filter(|image| !image.ended)
                    .map(|image| image.process.clone()),
            );
        }
        processes
    }
}

/// Finds processes. Cheap to clone; a look-up is one hash and one uncontended lock that the writer holds for a
/// single insertion at most, never over I/O.
#[derive(Clone, Debug)]
pub struct Table {
    pub(crate) shared: Arc<Shared>,
    pub(crate) requests: Sender<Pid>,
}

impl Table {
    /// The newest image of `pid`; one that has ended is found for [`crate::Limits::linger`]. A miss asks the
    /// writer to read the process from `/proc`, so that a later look-up may succeed.
    #[must_use]
    pub fn find(&self, pid: Pid) -> Option<Arc<Process>> {
        let found = self.shared.newest(pid);
        if found.is_none() {
            self.request(pid);
        }
        self.count(found)
    }

    /// The image that ran as `pid` at `time`: tells pid reuse and exec chains apart for events that come late.
    #[must_use]
    pub fn find_at(&self, pid: Pid, time: KernelTime) -> Option<Arc<Process>> {
        let found = self.shared.at(pid, time);
        if found.is_none() && self.shared.newest(pid).is_none() {
            self.request(pid);
        }
        self.count(found)
    }

    /// All running processes, in no order: for a change of filters.
    #[must_use]
    pub fn running(&self) -> Vec<Arc<Process>> {
        self.shared.running()
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.counters.read()
    }

    fn request(&self, pid: Pid) {
        if self.requests.try_send(pid).is_err() {
            increment(&self.shared.counters.requests_dropped);
        }
    }

    fn count(&self, found: Option<Image>) -> Option<Arc<Process>> {
        let counters = &self.shared.counters;
        increment(&counters.lookups);
        match &found {
            None => increment(&counters.missed),
            Some(image) if image.ended => increment(&counters.late),
            Some(_) => {}
        }
        found.map(|image| image.process)
    }
}
