//! Searches the memory of processes for the traffic secrets of connections that are older than the agent.
//!
//! One thread, one process at a time, and only while a connection of it waits for that. What a search found is kept for some seconds, for the
//! other connections of the process, then wiped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use qtap_capture::{Pid, Priority, ThreadId, set_priority};
use qtap_engine::{Counter, MemorySearch};
use qtap_probe::{Harvest, Implementation, Implementations, MemoryLimits, search_memory};
use qtap_tls::{FoundSecret, FoundSecrets};

/// Processes that wait for their search.
const QUEUE: usize = 64;
/// Processes of which something is kept.
const MAX_PROCESSES: usize = 1024;
/// Least time from one search of a process to the next; longer after a search that took long, so that searches take a fiftieth of one processor.
const LEAST_PAUSE: Duration = Duration::from_secs(2);
const PAUSE_FACTOR: u32 = 50;
/// How long what was found is kept, or until the next search may begin.
const KEPT: Duration = Duration::from_secs(10);
/// A connection does not wait longer: what begins later is of no use to it.
const PATIENCE: Duration = Duration::from_secs(8);
/// A search ends when it has taken so long.
const LONGEST: Duration = Duration::from_secs(5);
/// How long a search takes only what others leave of the processors (`SCHED_IDLE`). On a busy host that may be nearly nothing, most searches take
/// some milliseconds, and others wait for this one.
const BACKGROUND: Duration = Duration::from_millis(100);

/// What the thread is told.
enum Job {
    Search(Pid),
    Stop,
}

/// What searches did.
#[derive(Debug, Default)]
pub(crate) struct MemoryCounters {
    pub(crate) searches: Counter,
    pub(crate) failures: Counter,
    /// Ended at a bound: of bytes, of secrets, or of time.
    pub(crate) cut: Counter,
    /// No room for a process.
    pub(crate) refused: Counter,
    pub(crate) bytes: Counter,
    pub(crate) faults: Counter,
    pub(crate) candidates: Counter,
    pub(crate) microseconds: Counter,
}

/// A process, as far as searches go.
#[derive(Default)]
struct Entry {
    is_running: bool,
    found: Option<Arc<FoundSecrets>>,
    /// When the last one ended, and when the next one may begin.
    ended: Option<(Instant, Instant)>,
}

/// What the thread and those who ask share.
#[derive(Default)]
struct Shared {
    entries: Mutex<HashMap<Pid, Entry>>,
    /// The search that goes on in the background, and since when.
    current: Mutex<Option<(ThreadId, Instant)>>,
    counters: MemoryCounters,
    stop: AtomicBool,
}

/// The searches of this agent.
pub(crate) struct MemorySearches {
    jobs: Option<Sender<Job>>,
    shared: Arc<Shared>,
    implementations: Implementations,
}

impl MemorySearches {
    /// None, ever.
    pub(crate) fn off(implementations: Implementations) -> Self {
        Self {
            jobs: None,
            shared: Arc::default(),
            implementations,
        }
    }

    /// With a thread, which ends after [`MemorySearches::stop`].
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(crate) fn start(implementations: Implementations) -> anyhow::Result<(Self, JoinHandle<()>)> {
        let (jobs, inbox) = bounded(QUEUE);
        let shared: Arc<Shared> = Arc::default();
        let work = Arc::clone(&shared);
        let thread = super::spawn("qtap-memory", move || work.serve(&inbox))?;
        let searches = Self {
            jobs: Some(jobs),
            shared,
            implementations,
        };
        Ok((searches, thread))
    }

    pub(crate) fn counters(&self) -> &MemoryCounters {
        &self.shared.counters
    }

    /// Ends the search under way, and the thread.
    pub(crate) fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(jobs) = &self.jobs {
            // Where the queue is full the thread is awake, and sees the flag.
            let _ = jobs.try_send(Job::Stop);
        }
    }

    /// Whether `pid` has a library whose secrets can be found; `None` while that is not known.
    fn is_searchable(&self, pid: Pid) -> Option<bool> {
        let found = self.implementations.of(pid)?;
        let mut all = found
            .libraries
            .iter()
            .flat_map(|library| &library.implementations);
        Some(all.any(|implementation| *implementation == Implementation::Rustls))
    }

    /// Whether a search of `pid` may find something, as far as that is known yet.
    pub(crate) fn may_find(&self, pid: Pid) -> bool {
        self.jobs.is_some() && self.is_searchable(pid).unwrap_or(true)
    }

    /// What was found in `pid`, by another search than `but`; begins one where that is called for.
    pub(crate) fn ask(&self, pid: Pid, but: Option<u64>) -> MemorySearch {
        let Some(jobs) = &self.jobs else {
            return MemorySearch::Impossible;
        };
        match self.is_searchable(pid) {
            None => return MemorySearch::Pending,
            Some(false) => return MemorySearch::Impossible,
            Some(true) => {}
        }
        let now = Instant::now();
        let mut entries = self.shared.entries();
        if !entries.contains_key(&pid) && entries.len() >= MAX_PROCESSES {
            self.shared.counters.refused.add(1);
            return MemorySearch::Impossible;
        }
        let entry = entries.entry(pid).or_default();
        if let Some(found) = entry.found.as_ref().filter(|found| Some(found.id) != but) {
            return MemorySearch::Found(Arc::clone(found));
        }
        if entry.is_running {
            drop(entries);
            self.shared.hurry(now);
            return MemorySearch::Pending;
        }
        match entry.ended {
            Some((_, next)) if next > now + PATIENCE => MemorySearch::Impossible,
            Some((_, next)) if next > now => MemorySearch::Pending,
            _ => {
                entry.is_running = jobs.try_send(Job::Search(pid)).is_ok();
                if !entry.is_running {
                    self.shared.counters.refused.add(1);
                }
                MemorySearch::Pending
            }
        }
    }
}

impl Shared {
    // Nothing panics under these locks and every write leaves a valid state.
    fn entries(&self) -> MutexGuard<'_, HashMap<Pid, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> MutexGuard<'_, Option<(ThreadId, Instant)>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings a search that takes long out of the background.
    fn hurry(&self, now: Instant) {
        let mut current = self.current();
        if let Some((thread, since)) = *current
            && now.saturating_duration_since(since) >= BACKGROUND
        {
            *current = None;
            set(thread, Priority::Normal);
        }
    }

    fn serve(&self, inbox: &Receiver<Job>) {
        /// While something is kept that is to be wiped.
        const LOOK: Duration = Duration::from_millis(500);
        let mut id = 0;
        while !self.stop.load(Ordering::Acquire) {
            let wait = if self.entries().is_empty() {
                Duration::MAX
            } else {
                LOOK
            };
            match inbox.recv_timeout(wait) {
                Ok(Job::Search(pid)) => {
                    id += 1;
                    self.search(pid, id);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
            self.forget(Instant::now());
        }
        self.entries().clear();
    }

    /// Searches `pid`, and keeps what was found as the search `id`.
    fn search(&self, pid: Pid, id: u64) {
        let (thread, begun) = (ThreadId::current(), Instant::now());
        set(thread, Priority::Background);
        *self.current() = Some((thread, begun));
        let outcome = search_memory(pid, MemoryLimits::default(), || {
            begun.elapsed() < LONGEST && !self.stop.load(Ordering::Acquire)
        });
        *self.current() = None;
        set(thread, Priority::Normal);
        let took = begun.elapsed();
        let counters = &self.counters;
        counters.searches.add(1);
        counters
            .microseconds
            .add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        let harvest = outcome.unwrap_or_else(|error| {
            counters.failures.add(1);
            tracing::debug!(pid = pid.0, %error, "cannot search the memory of a process for secrets");
            Harvest::default()
        });
        counters.bytes.add(harvest.bytes);
        counters.faults.add(harvest.faults);
        counters.candidates.add(harvest.secrets.len() as u64);
        counters.cut.add(u64::from(harvest.is_cut));
        tracing::debug!(
            pid = pid.0,
            bytes = harvest.bytes,
            unreadable = harvest.faults,
            candidates = harvest.secrets.len(),
            cut = harvest.is_cut,
            milliseconds = took.as_secs_f64() * 1e3,
            "searched the memory of a process for secrets"
        );
        let secrets = (harvest.secrets.into_iter())
            .map(|secret| FoundSecret::new(secret.bytes, secret.group))
            .collect();
        let ended = Instant::now();
        let mut entries = self.entries();
        let entry = entries.entry(pid).or_default();
        entry.is_running = false;
        entry.found = Some(Arc::new(FoundSecrets { id, secrets }));
        entry.ended = Some((ended, ended + LEAST_PAUSE.max(took * PAUSE_FACTOR)));
    }

    /// Wipes what was kept long enough.
    fn forget(&self, now: Instant) {
        self.entries().retain(|_, entry| {
            let Some((ended, next)) = entry.ended else {
                return true;
            };
            entry.is_running || now < next.max(ended + KEPT)
        });
    }
}

fn set(thread: ThreadId, priority: Priority) {
    if let Err(error) = set_priority(thread, priority) {
        tracing::debug!(%error, ?priority, "the priority of the search of memory stays");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept of a search that ended `ago`.
    fn shared(ago: Duration, took: Duration) -> Shared {
        let shared = Shared::default();
        let ended = Instant::now().checked_sub(ago).unwrap();
        let entry = Entry {
            is_running: false,
            found: Some(Arc::new(FoundSecrets {
                id: 1,
                secrets: Vec::new(),
            })),
            ended: Some((ended, ended + LEAST_PAUSE.max(took * PAUSE_FACTOR))),
        };
        shared.entries().insert(Pid(1), entry);
        shared
    }

    #[test]
    fn what_was_found_is_forgotten_when_the_next_search_may_begin_and_not_before_ten_seconds() {
        let is_kept = |ago, took| {
            let shared = shared(Duration::from_secs(ago), Duration::from_millis(took));
            shared.forget(Instant::now());
            !shared.entries().is_empty()
        };
        assert!(is_kept(9, 10));
        assert!(!is_kept(11, 10));
        assert!(is_kept(20, 500));
        assert!(!is_kept(26, 500));
    }

    #[test]
    fn a_search_of_a_process_that_is_gone_finds_nothing_and_is_counted() {
        let shared = Shared::default();
        shared.search(Pid(u32::MAX >> 1), 7);
        assert_eq!(shared.counters.failures.get(), 1);
        let entries = shared.entries();
        let found = entries[&Pid(u32::MAX >> 1)].found.as_ref().unwrap();
        assert!(found.id == 7 && found.secrets.is_empty());
    }

    #[test]
    fn where_nothing_can_be_found_nothing_is_searched() {
        let off = MemorySearches::off(Implementations::default());
        assert!(!off.may_find(Pid(1)));
        assert!(matches!(off.ask(Pid(1), None), MemorySearch::Impossible));
        let (searches, thread) = MemorySearches::start(Implementations::default()).unwrap();
        // Its libraries are not known yet.
        assert!(searches.may_find(Pid(1)));
        assert!(matches!(searches.ask(Pid(1), None), MemorySearch::Pending));
        searches.stop();
        thread.join().unwrap();
        assert_eq!(searches.counters().searches.get(), 0);
    }
}
