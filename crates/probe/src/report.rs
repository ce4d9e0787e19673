//! What the room tells others: which TLS code each process has, and what cannot be captured.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use qtap_capture::{KernelTime, Pid};

use crate::implementation::Implementation;

/// One file with TLS code that a process has mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryTls {
    /// Whose code.
    pub implementations: Vec<Implementation>,
    /// Its path where it was first met.
    pub path: Arc<str>,
    /// Since when secrets derived in it are seen; a handshake before that is not.
    pub secrets_since: Option<KernelTime>,
    /// Since when the calls of this process to it are seen.
    pub calls_since: Option<KernelTime>,
    /// Why secrets or calls that were asked for are not seen.
    pub reason: Option<String>,
}

/// The TLS code of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessTls {
    /// Every mapped file that has some.
    pub libraries: Vec<LibraryTls>,
}

impl ProcessTls {
    /// Names for `tlsProbeTypesDetected`, sorted, each once.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = self
            .libraries
            .iter()
            .flat_map(|library| &library.implementations)
            .map(|found| found.name())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Since when the secrets of some library of the process are seen; `None` if of none. A handshake older than
    /// this cannot have been seen.
    #[must_use]
    pub fn secrets_since(&self) -> Option<KernelTime> {
        self.libraries
            .iter()
            .filter_map(|library| library.secrets_since)
            .min()
    }

    /// Since when the secrets of every probed library of the process are seen; `None` if of none. A handshake younger than
    /// this was seen, whichever library made it.
    #[must_use]
    pub fn all_secrets_since(&self) -> Option<KernelTime> {
        self.libraries
            .iter()
            .filter_map(|library| library.secrets_since)
            .max()
    }

    /// Since when the calls to some library of the process are seen; `None` if to none.
    #[must_use]
    pub fn calls_since(&self) -> Option<KernelTime> {
        self.libraries
            .iter()
            .filter_map(|library| library.calls_since)
            .min()
    }

    /// Why the connections of the process cannot be captured: only given when no library of it is probed.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        if self.secrets_since().is_some() || self.calls_since().is_some() {
            return None;
        }
        self.libraries
            .iter()
            .find_map(|library| library.reason.as_deref())
    }
}

/// Figures for metrics. All but the gauges only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Gauge: files with probes attached.
    pub attached_inodes: u64,
    /// Gauge: files with TLS code that cannot be captured, by reason.
    pub unsupported_inodes: BTreeMap<String, u64>,
    /// Gauge: processes that have TLS code mapped.
    pub tls_processes: u64,
    /// Files classified.
    pub scans: u64,
    /// Files of which it was known from the cache what is in them.
    pub cached: u64,
    /// Time spent on that.
    pub scan_time: Duration,
    /// Files that could not be opened or read; each is tried again.
    pub scan_failures: u64,
    /// Attachments that were refused; each is tried again.
    pub attach_failures: u64,
    /// Inferred functions whose probes were taken off, as they are others than they were taken for.
    pub refuted: u64,
    /// Files that came again with another content under a known inode.
    pub replaced: u64,
    /// Processes or files not followed because a table was full.
    pub table_full: u64,
}

/// Shared view of the tracker's findings. Cloning is cheap; locks are held for a look-up only.
#[derive(Clone, Debug, Default)]
pub struct Implementations {
    shared: Arc<RwLock<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    processes: HashMap<Pid, Arc<ProcessTls>>,
    counters: Counters,
}

impl Implementations {
    /// The TLS code of a process, for some time after its end too. `None`: none was found, or the process is not
    /// known (yet).
    #[must_use]
    pub fn of(&self, pid: Pid) -> Option<Arc<ProcessTls>> {
        self.read(|shared| shared.processes.get(&pid).cloned())
    }

    /// Every process that has TLS code, those that ended a moment ago included, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<(Pid, Arc<ProcessTls>)> {
        let copy = |(pid, found): (&Pid, &Arc<ProcessTls>)| (*pid, Arc::clone(found));
        self.read(|shared| shared.processes.iter().map(copy).collect())
    }

    /// The figures now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.read(|shared| {
            let mut counters = shared.counters.clone();
            counters.tls_processes = shared.processes.len() as u64;
            counters
        })
    }

    pub(crate) fn set(&self, pid: Pid, found: Option<ProcessTls>) {
        self.write(|shared| match found {
            Some(found) => {
                shared.processes.insert(pid, Arc::new(found));
            }
            None => {
                shared.processes.remove(&pid);
            }
        });
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Counters)) {
        self.write(|shared| change(&mut shared.counters));
    }

    // Nothing panics under the lock and every write leaves a valid state, so a poisoned lock is as good as any.
    fn read<T>(&self, look: impl FnOnce(&Shared) -> T) -> T {
        look(&self.shared.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut Shared)) {
        change(&mut self.shared.write().unwrap_or_else(PoisonError::into_inner));
    }
}
